//! Records and configurations of burn's layers.

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv as own;
use burn::nn::{PaddingConfig1d, PaddingConfig2d, PaddingConfig3d};
use burn::store::ModuleRecord;
use burn::tensor::{Device, Distribution, Tensor, Tolerance};
use burn_im2col::nn::conv as ours;

/// The record of `own`, through bytes as a file has them.
fn saved<M: Module>(own: &M) -> ModuleRecord {
    ModuleRecord::from_bytes(own.clone().into_record().into_bytes().unwrap()).unwrap()
}

/// Checks that a layer of ours that loads the record of burn's gives the same output.
macro_rules! same_output {
    ($config:ident, $shape:expr, |$new:ident| $config_of:expr) => {{
        let device = Device::flex();
        let own = {
            let $new = own::$config::new;
            $config_of.init(&device)
        };
        let ours = {
            let $new = ours::$config::new;
            $config_of.init(&device)
        };
        let x = Tensor::random($shape, Distribution::Default, &device);
        let expected = own.forward(x.clone()).into_data();
        let loaded = ours.load_record(saved(&own));
        let close = Tolerance::relative(1e-5).set_absolute(1e-5);
        loaded.forward(x.clone()).into_data().assert_approx_eq::<f32>(&expected, close);
        // And back: what ours saves, burn's loads.
        let back = own.clone().load_record(saved(&loaded));
        back.forward(x).into_data().assert_eq(&expected, true);
        assert_eq!(format!("{own}"), format!("{loaded}"));
    }};
}

#[test]
fn records_of_burns_layers_load_and_give_the_same_output() {
    same_output!(Conv1dConfig, [2, 4, 15], |new| new(4, 6, 4)
        .with_stride(2)
        .with_groups(2)
        .with_padding(PaddingConfig1d::Same));
    same_output!(Conv2dConfig, [2, 3, 9, 8], |new| new([3, 6], [3, 2])
        .with_stride([2, 1])
        .with_padding(PaddingConfig2d::Explicit(1, 2, 3, 0)));
    same_output!(Conv2dConfig, [1, 4, 7, 6], |new| new([4, 4], [2, 3])
        .with_groups(4)
        .with_bias(false)
        .with_padding(PaddingConfig2d::Same));
    same_output!(Conv3dConfig, [1, 2, 5, 6, 7], |new| new([2, 3], [3, 1, 3])
        .with_padding(PaddingConfig3d::Same));
    same_output!(ConvTranspose1dConfig, [2, 4, 7], |new| new([4, 6], 3)
        .with_stride(2)
        .with_padding_out(1)
        .with_groups(2));
    same_output!(ConvTranspose2dConfig, [1, 4, 5, 6], |new| new([4, 3], [2, 3])
        .with_stride([2, 2])
        .with_padding([1, 0]));
    same_output!(ConvTranspose3dConfig, [1, 2, 3, 4, 3], |new| new([2, 3], [2, 2, 2])
        .with_dilation([1, 2, 1]));
}

#[test]
fn configurations_are_burns() {
    let own = own::Conv2dConfig::new([3, 8], [3, 3]).with_groups(1).with_bias(false);
    let ours = ours::Conv2dConfig::new([3, 8], [3, 3]).with_groups(1).with_bias(false);
    assert_eq!(own.to_string(), ours.to_string());
    ours::Conv2dConfig::load_binary(own.to_string().as_bytes()).unwrap();
}
