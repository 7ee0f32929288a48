//! What a person reads: a line for each step, with a bar, and what all of them come to.

use crate::network::Network;

/// Characters of the longest bar.
const BAR: f64 = 24.0;

/// Prints the table of a run, `seconds` for each step.
pub(crate) fn print(network: &Network<'_>, seconds: &[f64], schedules: bool) {
    let graph = &network.graph;
    let longest = seconds.iter().copied().fold(0.0, f64::max);
    println!("{:<14}{:>16}{:>9}{:>9}{:>9}", "layer", "makes", "MFLOP", "ms", "GFLOP/s");
    let mut flops = 0.0;
    for (n, (step, time)) in graph.steps.iter().zip(seconds).enumerate() {
        let [channels, height, width] = graph.sizes[n + 1];
        let makes = format!("{channels}x{height}x{width}");
        print!("{:<14}{makes:>16}", step.name);
        let bar = "█".repeat((BAR * time / longest).round() as usize);
        match &network.layers[n] {
            Some(layer) => {
                flops += layer.flops();
                let speed = layer.flops() / time / 1e9;
                print!("{:>9.1}{:>9.3}{speed:>9.1}  {bar}", layer.flops() / 1e6, time * 1e3);
                if schedules {
                    print!("  {}", layer.schedule());
                }
            }
            None => print!("{:>9}{:>9.3}{:>9}  {bar}", "-", time * 1e3, "-"),
        }
        println!();
    }
    let total: f64 = seconds.iter().sum();
    let [tensors, scratch, packed] =
        network.memory().map(|len| len as f64 * 4.0 / (1 << 20) as f64);
    println!("\nMiB: tensors {tensors:.1}, scratch {scratch:.1}, packed weights {packed:.1}");
    // So that nothing is left out as unused, and two runs can be compared.
    let sum: f64 = network.output().iter().map(|&x| f64::from(x)).sum();
    println!("sum of the outputs {sum:.4}");
    println!("total {:.3} ms, {:.1} GFLOP/s", total * 1e3, flops / total / 1e9);
}
