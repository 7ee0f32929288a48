//! What a person reads: a line for each layer, as soon as it was measured.

use crate::layers::Layer;
use im2col::Pass;

/// A pass's name in the benches.
pub(crate) fn name(pass: Pass) -> &'static str {
    match pass {
        Pass::Forward => "forward",
        Pass::BackwardData => "backward_data",
        _ => "backward_weight",
    }
}

/// The columns of the table.
pub(crate) struct Table {
    pub(crate) ways: Vec<&'static str>,
    /// The name of the widest FMA and its operations per second.
    pub(crate) peak: Option<(&'static str, f64)>,
}

impl Table {
    /// What the columns are.
    pub(crate) fn explain(&self) {
        println!("GFLOP/s on one thread, f32, channels first; higher is better.");
        println!(
            "naive: a loop for each index. textbook: cols written out, then a matrix product."
        );
        if let Some((name, peak)) = self.peak {
            println!("share: im2col's of {:.0} GFLOP/s, the FMA peak with {name}.", peak / 1e9);
        }
        println!("plan: microseconds that making the layer's plan takes, once.");
    }

    /// The head of a pass.
    pub(crate) fn title(&self, pass: Pass) {
        print!("\n{:<16}{:>9}", name(pass), "MFLOP");
        self.ways.iter().for_each(|way| print!("{way:>10}"));
        println!("{:>8}{:>8}", "share", "plan");
    }

    /// A layer: the seconds of each way, and those of making its plan.
    pub(crate) fn row(&self, layer: &Layer, seconds: &[Option<f64>], planning: f64) {
        let flops = layer.shape.flops();
        print!("{:<16}{:>9.1}", layer.name, flops / 1e6);
        for seconds in seconds {
            match seconds {
                Some(seconds) => print!("{:>10.1}", flops / seconds / 1e9),
                None => print!("{:>10}", "-"),
            }
        }
        let im2col = self.ways.iter().position(|way| *way == "im2col").and_then(|i| seconds[i]);
        match (im2col, self.peak) {
            (Some(im2col), Some((_, peak))) => print!("{:>6.0} %", 100.0 * flops / im2col / peak),
            _ => print!("{:>8}", "-"),
        }
        println!("{:>8.1}", planning * 1e6);
    }
}
