//! Winograd's schedules, and what they cost.

use super::candidates::Question;
use super::schedule::Schedule;
use crate::element::{Element, ceil};
use crate::kernel::winograd::Form;
use crate::kernel::{Kernel, Kernels};
use crate::pass::Pass;
use crate::shape::Layout;

/// Micro-tiles of rows that the tiles of a block are, so that weights in points, which each block reads anew, count little.
const MICRO_TILES: usize = 4;

/// Channels that are summed at once. An error grows with them.
const TERMS: usize = 64;

/// Output channels that `backward_weight` makes at once.
const OUTPUTS: usize = 64;

/// The schedule by tiles of `tile` outputs along an axis.
pub(crate) fn schedule<T: Element>(q: &Question<'_, T>, tile: usize) -> Schedule {
    let lanes = match q.pass {
        Pass::Forward | Pass::BackwardData => q.channels,
        Pass::BackwardWeight => q.shape.group_in(),
    };
    let kernel = kernel(q.kernels, lanes);
    // A micro-kernel of fewer rows has as many more of them.
    let pixels = MICRO_TILES * 14usize.next_multiple_of(kernel.rows);
    let taps = if q.pass == Pass::BackwardWeight { OUTPUTS } else { TERMS };
    Schedule { width: kernel.lanes, pixels, taps, ..Schedule::winograd(tile) }
}

/// The kernel for panels of so many lanes: the narrow one, whose panels take a fifth more of their time, where enough lanes
/// would be empty.
fn kernel<T>(kernels: &Kernels<T>, lanes: usize) -> &Kernel<T> {
    let Some(narrow) = &kernels.narrow else { return &kernels.tall };
    let padded = |kernel: &Kernel<T>| lanes.next_multiple_of(kernel.lanes);
    if 6 * padded(narrow) < 5 * padded(&kernels.tall) { narrow } else { &kernels.tall }
}

/// Multiplications in a cycle, where a machine has two units.
fn per_cycle<T: Element>(q: &Question<'_, T>) -> f64 {
    2.0 * q.kernels.tall.vector as f64
}

/// Cycles of a pass in points.
pub(crate) fn cycles<T: Element>(q: &Question<'_, T>, form: Form) -> f64 {
    /// The part of the peak that products of blocks reach.
    const EFFICIENCY: f64 = 0.8;
    /// Cycles of a vector that goes from pixels or taps into points or back, for each point: loaded, in about four
    /// products and stored; more where channels are turned into lanes.
    const TRANSFORMED: f64 = 3.5;
    const TURNED: f64 = 6.0;
    /// Cycles of a vector of weights in points that is read by a block of tiles, and written before.
    const READ: f64 = 4.0;
    let (shape, vector) = (q.shape, q.kernels.tall.vector as f64);
    let [_, h, w] = shape.axes3();
    let [rows, columns] = form.sizes();
    let plane = |axis: &crate::Axis, outputs: usize| {
        let length = match q.pass {
            Pass::BackwardData => axis.input,
            Pass::Forward | Pass::BackwardWeight => axis.output,
        };
        let phases = if axis.kernel > 1 { axis.dilation.min(length) } else { 1 };
        (0..phases).map(|p| (length - p).div_ceil(phases).div_ceil(outputs)).sum::<usize>() as f64
    };
    let depth = match q.pass {
        Pass::BackwardData => shape.axes3()[0].input,
        Pass::Forward | Pass::BackwardWeight => shape.axes3()[0].output,
    };
    let tiles = plane(h, rows.outputs) * plane(w, columns.outputs) * (shape.batch() * depth) as f64;
    let schedule = schedule(q, rows.outputs.max(columns.outputs));
    let (terms, lanes) = match q.pass {
        Pass::BackwardData => (shape.group_out(), shape.group_in()),
        Pass::Forward => (shape.group_in(), shape.group_out()),
        Pass::BackwardWeight => (shape.group_out(), shape.group_in()),
    };
    let groups = shape.groups() as f64;
    let depths = shape.axes3()[0].kernel as f64;
    let padded = lanes.next_multiple_of(schedule.width) as f64;
    let points = form.points() as f64;
    // Blocks of tiles have whole micro-tiles.
    let blocks = ceil(tiles / schedule.pixels as f64);
    let products =
        groups * depths * points * tiles * terms as f64 * padded / per_cycle(q) / EFFICIENCY;
    let each = if shape.layout() == Layout::ChannelsLast { TRANSFORMED } else { TURNED };
    // What is read is transformed anew for each block of what is made.
    let anew = |channels: usize, of: usize| channels.div_ceil(of) as f64;
    let vectors = |channels: f64| groups * ceil(channels / vector) * tiles;
    let weights = groups * depths * points * terms as f64 * padded / vector;
    let (moved, of_weights) = match q.pass {
        Pass::BackwardWeight => {
            let d = vectors(terms as f64) * depths * anew(lanes, 2 * schedule.taps);
            let v = vectors(padded) * depths * anew(terms, schedule.taps);
            (d + v, 1.0)
        }
        Pass::Forward | Pass::BackwardData => {
            let v = vectors(terms as f64) * depths * anew(lanes, 2 * schedule.taps);
            // Also transformed before, with a transposition.
            (v + vectors(padded), blocks + 2.0)
        }
    };
    products + moved * points * each + weights * of_weights * READ
}
