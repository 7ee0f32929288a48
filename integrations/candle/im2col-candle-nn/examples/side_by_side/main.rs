//! The same models with candle-nn and with the drop-in: times of both, and the largest difference of their results.
//! usage: cargo run --release --example side_by_side [MODEL..]     (RAYON_NUM_THREADS=1 for one thread)

#[path = "."]
mod own {
    pub(crate) use ::candle_nn;
    pub(crate) mod models;
}
#[path = "."]
mod ours {
    pub(crate) use im2col_candle_nn as candle_nn;
    pub(crate) mod models;
}

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{ModuleT, Optimizer, SGD, VarBuilder, VarMap};
use std::time::Instant;

/// What runs of a model are compared.
#[derive(Clone, Copy, PartialEq)]
enum Runs {
    Inference,
    InferenceAndTraining,
}

/// Makes a model with the variables of a builder.
type Maker = fn(VarBuilder) -> Result<Box<dyn ModuleT>>;

/// Medians of the milliseconds of both, taken in turn.
fn medians(mut runs: [&mut dyn FnMut() -> Result<()>; 2]) -> Result<[f64; 2]> {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..7 {
        for (run, times) in runs.iter_mut().zip(&mut times) {
            let start = Instant::now();
            run()?;
            // The first rounds make plans, pack weights and warm up.
            if round > 1 {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    Ok(times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }))
}

fn step(model: &dyn ModuleT, x: &Tensor, labels: &Tensor, sgd: &mut SGD) -> Result<f32> {
    let loss = candle_nn::loss::cross_entropy(&model.forward_t(x, true)?, labels)?;
    sgd.backward_step(&loss)?;
    loss.to_scalar()
}

/// The ratios of times: candle-nn's over the drop-in's.
#[derive(Default)]
struct Ratios {
    inference: Vec<f64>,
    training: Vec<f64>,
}

/// Inference of both models on the same weights, then training steps from the same weights.
fn compare(
    name: &str,
    shape: &[usize],
    makers: [Maker; 2],
    runs: Runs,
    ratios: &mut Ratios,
) -> Result<()> {
    let device = Device::Cpu;
    let vars = [VarMap::new(), VarMap::new()];
    let model = |i: usize| makers[i](VarBuilder::from_varmap(&vars[i], DType::F32, &device));
    let (own, ours) = (model(0)?, model(1)?);
    {
        let from = vars[0].data().lock().unwrap();
        for (name, var) in vars[1].data().lock().unwrap().iter() {
            Var::set(var, &from[name].copy()?)?;
        }
    }
    // For inference, as they come from a checkpoint: tensors that nobody trains.
    let trained = |i: usize| {
        let data = vars[i].data().lock().unwrap();
        let tensors = data.iter().map(|(name, var)| Ok((name.clone(), var.copy()?.detach())));
        makers[i](VarBuilder::from_tensors(tensors.collect::<Result<_>>()?, DType::F32, &device))
    };
    let [frozen_own, frozen_ours] = [trained(0)?, trained(1)?];
    let x = Tensor::randn(0f32, 1f32, shape, &device)?;
    let [a, b] = [frozen_own.forward_t(&x, false)?, frozen_ours.forward_t(&x, false)?];
    let largest = |t: &Tensor| t.abs()?.max_all()?.to_scalar::<f32>();
    let difference = largest(&(&a - &b)?)? / largest(&a)?;
    let [t_own, t_ours] =
        medians([&mut || frozen_own.forward_t(&x, false).map(drop), &mut || {
            frozen_ours.forward_t(&x, false).map(drop)
        }])?;
    ratios.inference.push(t_own / t_ours);
    println!(
        "{name:10} inference {t_own:8.1} ms, im2col {t_ours:8.1} ms: {:5.2} times as fast, \
         largest difference {difference:.1e} of the largest output",
        t_own / t_ours
    );
    if runs == Runs::InferenceAndTraining {
        let labels = Tensor::from_iter((0..shape[0] as u32).map(|i| i % 10), &device)?;
        let [mut sgd_own, mut sgd_ours] =
            [SGD::new(vars[0].all_vars(), 0.01)?, SGD::new(vars[1].all_vars(), 0.01)?];
        let [mut losses_own, mut losses_ours] = [Vec::new(), Vec::new()];
        let [t_own, t_ours] = medians([
            &mut || {
                losses_own.push(step(&*own, &x, &labels, &mut sgd_own)?);
                Ok(())
            },
            &mut || {
                losses_ours.push(step(&*ours, &x, &labels, &mut sgd_ours)?);
                Ok(())
            },
        ])?;
        ratios.training.push(t_own / t_ours);
        println!(
            "{name:10} training  {t_own:8.1} ms, im2col {t_ours:8.1} ms: {:5.2} times as fast, \
         losses {:.4} and {:.4} after {} steps",
            t_own / t_ours,
            losses_own[losses_own.len() - 1],
            losses_ours[losses_ours.len() - 1],
            losses_own.len()
        );
    }
    Ok(())
}

fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut ratios = Ratios::default();
    /// The model of both worlds, which are different types of the same name.
    macro_rules! both {
        ($model:ident($($argument:expr),*)) => {
            [
                |vb: VarBuilder| Ok(Box::new(own::models::$model::new($($argument,)* vb)?) as Box<dyn ModuleT>),
                |vb: VarBuilder| Ok(Box::new(ours::models::$model::new($($argument,)* vb)?) as Box<dyn ModuleT>),
            ]
        };
    }
    let models: [(&str, &[usize], [Maker; 2], Runs); 8] = [
        ("mnist", &[64, 1, 28, 28], both!(Mnist()), Runs::InferenceAndTraining),
        ("cifar", &[32, 3, 32, 32], both!(Cifar()), Runs::InferenceAndTraining),
        ("plain", &[32, 3, 32, 32], both!(CifarPlain()), Runs::InferenceAndTraining),
        ("resnet18", &[1, 3, 224, 224], both!(ResNet([2, 2, 2, 2], false)), Runs::Inference),
        ("resnet50", &[1, 3, 224, 224], both!(ResNet([3, 4, 6, 3], true)), Runs::Inference),
        ("vae", &[1, 4, 16, 16], both!(VaeDecoder()), Runs::Inference),
        ("convnext", &[1, 3, 224, 224], both!(ConvNext()), Runs::Inference),
        ("audio", &[1, 1, 24_000], both!(AudioEncoder()), Runs::Inference),
    ];
    for (name, shape, makers, runs) in models {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            compare(name, shape, makers, runs, &mut ratios)?;
        }
    }
    println!("geometric mean of inference: {:.2}", geometric_mean(&ratios.inference));
    Ok(())
}
