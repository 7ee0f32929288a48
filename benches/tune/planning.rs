//! What making a plan takes.

use bench_tune::Layer;
use im2col::{Error, Options, Plan};
use std::collections::BTreeMap;
use std::time::Instant;

/// Plans of a sample, and samples of which the fastest counts.
const PLANS: u32 = 16;
const SAMPLES: usize = 30;

/// Prints the microseconds of a plan: for each list the geometric mean and the slowest layer.
pub(crate) fn print(layers: &[Layer], options: Options) -> Result<(), Error> {
    let mut lists: BTreeMap<&str, Vec<(f64, String)>> = BTreeMap::new();
    for layer in layers {
        let mut least = f64::INFINITY;
        for _ in 0..SAMPLES {
            let start = Instant::now();
            for _ in 0..PLANS {
                std::hint::black_box(Plan::<f32>::new(layer.shape, options)?);
            }
            least = least.min(start.elapsed().as_secs_f64() / f64::from(PLANS) * 1e6);
        }
        let name = format!("{} {:?}", layer.name, layer.shape.layout());
        lists.entry(layer.list).or_default().push((least, name));
    }
    let mean = |all: &[&(f64, String)]| {
        (all.iter().map(|(x, _)| x.ln()).sum::<f64>() / all.len().max(1) as f64).exp()
    };
    for (list, times) in &lists {
        let all: Vec<_> = times.iter().collect();
        let slowest = all.iter().max_by(|a, b| a.0.total_cmp(&b.0));
        let (most, name) = slowest.map_or((0.0, ""), |(most, name)| (*most, name.as_str()));
        println!("{list}: geomean {:.2} us, most {most:.2} us ({name})", mean(&all));
    }
    let all: Vec<_> = lists.values().flatten().collect();
    println!("planning: geomean {:.2} us over {} layers", mean(&all), all.len());
    Ok(())
}
