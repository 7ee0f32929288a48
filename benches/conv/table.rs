//! What a person reads at the end.

use crate::layers::Layer;
use im2col::Pass;
use std::collections::BTreeMap;
use std::fmt;

/// The ways to compute a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Naive,
    Explicit,
    Gemm,
    Implicit,
}

impl Way {
    pub(crate) const ALL: [Way; 4] = [Way::Naive, Way::Explicit, Way::Gemm, Way::Implicit];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Naive => "naive",
            Way::Explicit => "explicit",
            Way::Gemm => "gemm",
            Way::Implicit => "implicit",
        }
    }
}

/// A pass's name in the benches.
pub(crate) fn name(pass: Pass) -> &'static str {
    match pass {
        Pass::Forward => "forward",
        Pass::BackwardData => "backward_data",
        Pass::BackwardWeight => "backward_weight",
    }
}

struct Row {
    layer: &'static str,
    flops: f64,
    pass: &'static str,
    /// Operations per second.
    speeds: BTreeMap<Way, f64>,
}

/// All that was measured; benches that a filter left out are not in it.
#[derive(Default)]
pub(crate) struct Table {
    /// The name of the FMA and its operations per second.
    pub(crate) peak: Option<(&'static str, f64)>,
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn add(&mut self, layer: &Layer, pass: Pass, way: Way, seconds: f64) {
        if !seconds.is_finite() {
            return;
        }
        let (pass, flops) = (name(pass), layer.shape.flops());
        let is_new = self.rows.last().is_none_or(|row| row.layer != layer.name || row.pass != pass);
        if is_new {
            self.rows.push(Row { layer: layer.name, flops, pass, speeds: BTreeMap::new() });
        }
        let row = self.rows.last_mut().expect("just pushed");
        row.speeds.insert(way, flops / seconds);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nf32, channels first, one thread, GFLOP/s of the fastest sample.")?;
        if let Some((name, peak)) = self.peak {
            writeln!(
                f,
                "The last column is implicit's share of {:.1}, {name}'s peak.",
                peak / 1e9
            )?;
        }
        let mut pass = "";
        for row in &self.rows {
            if row.pass != pass {
                pass = row.pass;
                write!(f, "\n{pass:<16}{:>9}", "MFLOP")?;
                Way::ALL.iter().try_for_each(|way| write!(f, "{:>10}", way.name()))?;
                writeln!(f, "{:>8}", "share")?;
            }
            write!(f, "{:<16}{:>9.1}", row.layer, row.flops / 1e6)?;
            for way in Way::ALL {
                match row.speeds.get(&way) {
                    Some(speed) => write!(f, "{:>10.1}", speed / 1e9)?,
                    None => write!(f, "{:>10}", "-")?,
                }
            }
            match (row.speeds.get(&Way::Implicit), self.peak) {
                (Some(speed), Some((_, peak))) => writeln!(f, "{:>6.0} %", 100.0 * speed / peak)?,
                _ => writeln!(f, "{:>8}", "-")?,
            }
        }
        Ok(())
    }
}
