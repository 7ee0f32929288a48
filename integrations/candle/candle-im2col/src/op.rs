//! The three products of a layer as candle's operations.
//!
//! ```text
//!     Forward         output      = input,  weight
//!     BackwardData    grad_input  = weight, grad_output     (the output of a transposed layer)
//!     BackwardWeight  grad_weight = input,  grad_output
//! ```
//!
//! Each is linear in both arguments, and its gradients are the two others: gradients of gradients need nothing more.

use crate::Activation;
use crate::call::{self, Stored};
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail,
};
use im2col::{MAX_AXES, Params};

/// Which of the three products.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pass {
    Forward,
    BackwardData,
    BackwardWeight,
}

/// One product of a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    pub(crate) params: Params,
    /// Spatial sizes of the output.
    pub(crate) output: [usize; MAX_AXES],
    pub(crate) pass: Pass,
    /// What a forward product does to its results. Not linear: only for results that nobody tracks.
    pub(crate) activation: Activation,
}

impl Product {
    /// The product of two tensors, tracked where one of them is.
    pub(crate) fn of(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        a.contiguous()?.apply_op2(&b.contiguous()?, self)
    }

    /// The product plus a bias of one element per channel of the result.
    pub(crate) fn with_bias(self, a: &Tensor, b: &Tensor, bias: &Tensor) -> Result<Tensor> {
        a.contiguous()?.apply_op3(&b.contiguous()?, &bias.contiguous()?, self)
    }

    /// The shape of the result.
    pub(crate) fn shape(&self) -> Shape {
        let p = &self.params;
        let (channels, sizes) = match self.pass {
            Pass::Forward => ([p.batch, p.out_channels], &self.output),
            Pass::BackwardData => ([p.batch, p.in_channels], &p.input),
            _ => ([p.out_channels, p.in_channels / p.groups], &p.kernel),
        };
        [&channels[..], &sizes[..p.axes]].concat().into()
    }

    fn run(
        &self,
        tensors: [Stored<'_>; 2],
        bias: Option<Stored<'_>>,
    ) -> Result<(CpuStorage, Shape)> {
        #[cfg(test)]
        crate::tests::count(self.pass);
        let &Self { ref params, pass, activation, .. } = self;
        let data = match tensors[0].0 {
            CpuStorage::F32(_) => call::run::<f32>(params, pass, tensors, bias, activation),
            CpuStorage::F64(_) => call::run::<f64>(params, pass, tensors, bias, activation),
            _ => bail!("im2col computes f32 and f64"),
        };
        Ok((data?, self.shape()))
    }

    /// The gradients of the two arguments. What nobody tracks is not computed: the first layer's input, frozen weights.
    fn gradients(
        &self,
        a: &Tensor,
        b: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of = |pass, a: &Tensor, b: &Tensor| Product { pass, ..*self }.of(a, b);
        let of_a = || match self.pass {
            Pass::Forward => of(Pass::BackwardData, b, grad),
            Pass::BackwardData => of(Pass::BackwardWeight, grad, b),
            _ => of(Pass::BackwardData, grad, b),
        };
        let of_b = || match self.pass {
            Pass::Forward => of(Pass::BackwardWeight, a, grad),
            Pass::BackwardData => of(Pass::Forward, grad, a),
            _ => of(Pass::Forward, a, grad),
        };
        Ok((a.track_op().then(of_a).transpose()?, b.track_op().then(of_b).transpose()?))
    }
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "im2col"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.run([(s1, l1), (s2, l2)], None)
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(a, b, grad)
    }
}

impl CustomOp3 for Product {
    fn name(&self) -> &'static str {
        "im2col-bias"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.run([(s1, l1), (s2, l2)], Some((s3, l3)))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (of_a, of_b) = self.gradients(a, b, grad)?;
        let of_bias = || grad.contiguous()?.apply_op1(BiasGradient);
        Ok((of_a, of_b, bias.track_op().then(of_bias).transpose()?))
    }
}

/// `[N, K, spatial..]` summed over all axes but the second.
struct BiasGradient;

impl CustomOp1 for BiasGradient {
    fn name(&self) -> &'static str {
        "im2col-backward-bias"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        #[cfg(test)]
        crate::tests::count_bias();
        let (dims, grad) = (layout.dims(), (storage, layout));
        let sizes = [dims[0], dims[1], dims[2..].iter().product()];
        let data = match storage {
            CpuStorage::F32(_) => call::backward_bias::<f32>(grad, sizes)?,
            CpuStorage::F64(_) => call::backward_bias::<f64>(grad, sizes)?,
            _ => bail!("im2col computes f32 and f64"),
        };
        Ok((data, dims[1].into()))
    }

    fn bwd(&self, arg: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let mut one_channel = vec![1; arg.rank()];
        one_channel[1] = arg.dim(1)?;
        Ok(Some(grad.reshape(one_channel)?.broadcast_as(arg.shape())?))
    }
}
