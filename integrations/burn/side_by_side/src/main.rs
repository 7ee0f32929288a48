//! The same nets with burn's convolutions on Flex and with im2col's: times of both, and the largest difference of their
//! results.
//! usage: cargo run --release -p side_by_side [MODEL..]     (RAYON_NUM_THREADS=1 for one thread)

#[path = "."]
mod own {
    pub(crate) use burn::nn;
    pub(crate) mod models;
}
#[path = "."]
mod ours {
    pub(crate) use burn_im2col::nn;
    pub(crate) mod models;
}

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, Distribution, Int, Tensor};
use std::time::Instant;

/// What a net does with images `[N, C, H, W]`: a score for each class.
trait Net: Module {
    fn scores(&self, images: Tensor<4>) -> Tensor<2>;
}

macro_rules! nets {
    ($($world:ident::$net:ident),*) => {
        $(impl Net for $world::models::$net {
            fn scores(&self, images: Tensor<4>) -> Tensor<2> {
                self.forward(images)
            }
        })*
    };
}
nets!(own::Chain, ours::Chain, own::ResNet, ours::ResNet);

/// Medians of the milliseconds of both, taken in turn.
fn medians(mut runs: [&mut dyn FnMut(); 2]) -> [f64; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..7 {
        for (run, times) in runs.iter_mut().zip(&mut times) {
            let start = Instant::now();
            run();
            // The first rounds make plans, pack weights and warm up.
            if round > 1 {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

/// A net in training.
struct Training<N> {
    net: Option<N>,
    optimizer: ModuleOptimizer,
    losses: Vec<f32>,
}

impl<N: Net> Training<N> {
    fn new(net: N) -> Self {
        Self { net: Some(net), optimizer: SgdConfig::new().init(), losses: Vec::new() }
    }

    fn step(&mut self, images: &Tensor<4>, labels: &Tensor<1, Int>) {
        let net = self.net.take().expect("a net between two steps");
        let cross_entropy = CrossEntropyLossConfig::new().init(&images.device());
        let loss = cross_entropy.forward(net.scores(images.clone()), labels.clone());
        self.losses.push(loss.clone().into_scalar());
        let grads = GradientsParams::from_grads(loss.backward(), &net);
        self.net = Some(self.optimizer.step(0.01, net, grads));
    }
}

/// The ratios of times: burn's over im2col's.
#[derive(Default)]
struct Ratios {
    inference: Vec<f64>,
    training: Vec<f64>,
}

/// Inference of both nets with the weights of the first, and training steps from there.
fn compare<A: Net, B: Net>(
    name: &str,
    shape: [usize; 4],
    make: (impl Fn(&Device) -> A, impl Fn(&Device) -> B),
    ratios: &mut Ratios,
) {
    let device = Device::flex();
    let own = make.0(&device);
    // What burn's layers saved, im2col's load.
    let ours = make.1(&device).load_record(own.clone().into_record());
    let images = Tensor::<4>::random(shape, Distribution::Default, &device);
    let [a, b] = [own.scores(images.clone()), ours.scores(images.clone())];
    let largest = |t: Tensor<2>| t.abs().max().into_scalar::<f32>();
    let difference = largest(a.clone() - b) / largest(a);
    let [t_own, t_ours] =
        medians([&mut || drop(own.scores(images.clone()).into_data()), &mut || {
            drop(ours.scores(images.clone()).into_data())
        }]);
    ratios.inference.push(t_own / t_ours);
    println!(
        "{name:10} inference {t_own:8.1} ms, im2col {t_ours:8.1} ms: {:5.2} times as fast, \
         largest difference {difference:.1e} of the largest output",
        t_own / t_ours
    );

    let device = device.autodiff();
    let record = || own.clone().into_record();
    let mut own = Training::new(make.0(&device).load_record(record()));
    let mut ours = Training::new(make.1(&device).load_record(record()));
    let images = Tensor::<4>::from_data(images.into_data(), &device);
    let labels: Vec<i32> = (0..shape[0] as i32).map(|i| i % 10).collect();
    let labels = Tensor::<1, Int>::from_data(labels.as_slice(), &device);
    let [t_own, t_ours] =
        medians([&mut || own.step(&images, &labels), &mut || ours.step(&images, &labels)]);
    ratios.training.push(t_own / t_ours);
    let steps = own.losses.len();
    println!(
        "{name:10} training  {t_own:8.1} ms, im2col {t_ours:8.1} ms: {:5.2} times as fast, \
         losses {:.4} and {:.4} after {steps} steps",
        t_own / t_ours,
        own.losses[steps - 1],
        ours.losses[steps - 1]
    );
}

fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut ratios = Ratios::default();
    let is = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    macro_rules! both {
        ($net:ident::$new:ident($($argument:expr),*)) => {
            (
                |device: &Device| own::models::$net::$new($($argument,)* device),
                |device: &Device| ours::models::$net::$new($($argument,)* device),
            )
        };
    }
    if is("cifar") {
        compare("cifar", [32, 3, 32, 32], both!(Chain::cifar()), &mut ratios);
    }
    if is("mobilenet") {
        compare("mobilenet", [4, 3, 128, 128], both!(Chain::mobilenet()), &mut ratios);
    }
    if is("resnet18") {
        let both = both!(ResNet::new([2, 2, 2, 2], false));
        compare("resnet18", [1, 3, 224, 224], both, &mut ratios);
    }
    if is("resnet50") {
        let both = both!(ResNet::new([3, 4, 6, 3], true));
        compare("resnet50", [1, 3, 224, 224], both, &mut ratios);
    }
    println!(
        "geometric means: inference {:.2}, training {:.2}",
        geometric_mean(&ratios.inference),
        geometric_mean(&ratios.training)
    );
}
