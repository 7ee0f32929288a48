//! A package of its own, as burn's NdArray backend makes what is below the library compile anew. Not in `.ci/run`:
//! `cargo test -p other_backend`.

#[cfg(test)]
mod tests {
    use burn::tensor::ops::ConvOptions;
    use burn::tensor::{Device, Distribution, Tensor, Tolerance};

    #[test]
    fn tensors_of_another_backend_go_to_burns_own_convolutions() {
        let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        let flex = Device::flex();
        let x = Tensor::<4>::random([1, 2, 6, 6], Distribution::Default, &flex);
        let w = Tensor::<4>::random([3, 2, 3, 3], Distribution::Default, &flex);
        assert!(burn_im2col::takes(&x));
        let expected = burn_im2col::conv2d(x.clone(), w.clone(), None, options.clone()).into_data();

        let other = Device::ndarray().autodiff();
        let x = Tensor::<4>::from_data(x.into_data(), &other);
        let w = Tensor::<4>::from_data(w.into_data(), &other).require_grad();
        assert!(!burn_im2col::takes(&x));
        let y = burn_im2col::conv2d(x, w.clone(), None, options);
        y.clone().into_data().assert_approx_eq::<f32>(&expected, Tolerance::default());
        assert!(w.grad(&y.sum().backward()).is_some());
    }
}
