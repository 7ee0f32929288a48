//! What 0.1 chooses.

use super::candidates::{PIXELS, Question};
use super::orientation::Lanes;
use super::schedule::{Padding, Schedule, Staging};
use crate::element::Element;
use crate::engine::backward_weight::is_pointwise;
use crate::engine::direct::STENCIL_TERMS;
use crate::engine::few_pixels::FewPixels;
use crate::engine::regions::Cut;
use crate::engine::steps::side_by_side;
use crate::error::Error;
use crate::gemm::dot::Tile;
use crate::gemm::gathered::{ROWS_OF_CELL, fewest};
use crate::gemm::kinds::Room;
use crate::kernel::stencil::{Channels, MOST_BLOCK, MOST_TERMS};
use crate::kernel::{Isa, Kernel, Kernels};
use crate::pass::Pass;
use crate::scratch::room;
use crate::shape::{Layout, Shape};
use crate::view::axis::Walk;
use crate::view::source::Source;
use alloc::vec::Vec;

/// Elements that a run may touch: with a panel of weights it has to stay in the L2 cache. AVX2's may have half a MiB, those
/// of AVX-512 have 1 MiB and more (aspp_d6 on Zen 5: 265 GFLOP/s with 160 Ki, 289 so; video_22 backward_data
/// 145 and 193).
pub(super) const fn touched(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 => 240 << 10,
        _ => 160 << 10,
    }
}

/// Runs of pixels from which on taps give way.
const PARTS: usize = 4;
/// Multiplications that a cell should have.
const CELL_WORK: usize = 3 << 20;

const fn many_terms(isa: Isa) -> usize {
    match isa {
        Isa::Neon => 256,
        _ => 0,
    }
}

/// A tile with fewer rows takes as long as one with so many: its sums wait for themselves.
const LOW: f64 = 4.5;

/// How much of the work may be left in tiles of one vector, which are faster with taps side by side for rows; others
/// pay if only they needn't be copied, or even (Zen 5: whisper_s2 214 GFLOP/s with taps for rows, 242 so).
const LEFT_OF_ONE: f64 = 0.95;

/// The same where a tile of each tap has more sums than are kept else (with none left out 2 to 8 % slower).
const LEFT_OF_MANY: f64 = 0.97;

/// Both: 5 % slower with 0.89 left, 3 % with 0.86.
const LEFT_OF_BOTH: f64 = 0.83;

/// The same where the image is copied all the same (with 0.98 left 3 % slower).
const LEFT_OF_COPY: f64 = 0.97;

/// The most channels that may be few.
const MOST_CHANNELS: usize = 16;

/// Vectors of products that take as long as a sum's lanes to be added up and stored, and a vector's share of the time that
/// one takes in panels. Fitted to both ways of 210 layers from 8 to 512 channels to 1 to 16 on Zen 5: with AVX-512 5 of
/// them take the way that is more than 10 % slower, with AVX2 3, and all together half a percent more time.
const SUMMED: f64 = 6.0;
const SHARE: f64 = 0.85;

/// Whether dot products are faster to so many channels than panels of them, most of whose lanes are empty.
fn terms_pay<T: Element>(kernels: &Kernels<T>, channels: usize, sources: &[Source]) -> bool {
    if channels > MOST_CHANNELS {
        return false;
    }
    let (tall, cost) = kernels.tall_for(channels);
    let vector = kernels.wide.vector;
    let each = Tile::cost(kernels.dots.columns, PIXELS, channels);
    let in_panels = (channels.next_multiple_of(tall.lanes) / vector) as f64 * cost;
    let [mut in_panels_of_all, mut dots] = [0.0; 2];
    for source in sources {
        let taps = source.walks.each_ref().map(|walk| walk.taps);
        let [len, steps] = side_by_side(taps, source.walks[2].dilation, source.channels);
        let vectors = steps as f64 * len.div_ceil(vector) as f64;
        let pixels = source.walks.iter().map(|walk| walk.outputs as f64).product::<f64>();
        // Panels leave out taps in the padding, where there are enough.
        let left = steps as f64 * len as f64 * Cut::least(source);
        in_panels_of_all += pixels * left * in_panels;
        let sum = SHARE * (vectors * each + SUMMED);
        dots += pixels * channels as f64 * sum;
    }
    dots < in_panels_of_all
}

/// The shortest row of pixels that is worth a vector.
const DOT_ROW: usize = 6;

/// Taps that are few for so many output channels, and for any number.
const FEW_TAPS: usize = 48;
const FEW_OUTPUTS: usize = 64;
const FEWEST_TAPS: usize = 16;

/// How much larger the errors have to be than the image to be the ones that are read as they lie:
/// packing an element takes a cycle of AVX2's two vectors of products.
const TURNED: usize = 2;

/// Whether dot products along the pixels are better than panels of output channels, which would be empty in part, or met
/// by few taps: channels first, where pixels lie side by side in both operands.
fn dots_pay<T: Element>(shape: &Shape, kernels: &Kernels<T>) -> bool {
    let kernel = kernels.tall_for(shape.group_out()).0;
    let [.., row] = shape.axes3();
    // More of them, where nearly all vectors are whole (AVX2, 6 of 64x64 pixels, 3x3: 37 GFLOP/s in panels, 68 in
    // dot products; 7 of 28x28: 45 and 32).
    let whole = row.output.is_multiple_of(kernel.vector) || row.output >= 8 * kernel.vector;
    let outputs = shape.group_out();
    // On AVX-512, too, where a lane of a panel is empty, or where errors that were packed would meet few taps
    // (Zen 5, 64 of 64x64 to 12, 3x3: 126 GFLOP/s in panels, 175 in dot products; 3 of 224x224 to 64: 119 and 178).
    let taps = shape.patch_len();
    let thin = kernels.isa == Isa::Avx512
        && (outputs < kernel.vector
            || taps <= FEWEST_TAPS
            || (taps <= FEW_TAPS && outputs <= FEW_OUTPUTS));
    let some = (outputs <= kernel.vector.min(8) || thin) && row.stride == 1 && whole;
    let few = 2 * outputs <= kernel.lanes || some;
    few && row.output >= DOT_ROW && shape.layout() == Layout::ChannelsFirst
}

/// Whether rows are better output channels than taps, channels last, where lanes are rows of taps as they lie: where
/// fewer of their vectors are empty than of a panel's. Of 324 layers from 4 to 256 channels to 2 to 96 on Zen 5 16 would be
/// more than 10 % faster the other way with AVX-512, 13 with AVX2 (64 of 256x256 to 2: 19 GFLOP/s in panels, 76 so; 128 of
/// 32x32 to 12, 3x3: 66 and 202).
fn rows_pay<T: Element>(shape: &Shape, kernels: &Kernels<T>) -> bool {
    if shape.layout() != Layout::ChannelsLast {
        return false;
    }
    let taps = shape.axes3().map(|axis| axis.kernel);
    let dilation = shape.axes3()[2].dilation;
    let [len, _] = side_by_side(taps, dilation, shape.group_in());
    let whole = len.next_multiple_of(kernels.wide.vector) as f64 / len as f64;
    let (tall, cost) = kernels.tall_for(shape.group_out());
    let in_panels = shape.group_out().next_multiple_of(tall.lanes) as f64 * cost;
    shape.group_out() as f64 * whole < in_panels
}

/// Whether image and errors change their places: every pixel meets one tap, so that both are read alike,
/// and the image has fewer channels to pack, which fill panels.
fn is_turned(shape: &Shape) -> bool {
    is_pointwise(shape)
        && shape.group_in().is_multiple_of(16)
        && shape.group_out() >= TURNED * shape.group_in()
}

/// Lanes are pixels.
pub(super) fn pixels<T: Element>(q: &Question<'_, T>, cols: Staging) -> Schedule {
    let kernels = q.kernels;
    let Some(source) = q.sources.first() else { return Schedule::EXPLICIT };
    let channels = q.channels;
    let shallow = channels <= 2 * kernels.wide.rows;
    let [.., h, w] = source.pixel_sizes();
    let terms = source.tap_sizes().iter().product::<usize>();
    let tiles = channels.div_ceil(kernels.wide.rows);
    let work = terms.saturating_mul(channels);
    let enough = (CELL_WORK / work).max(1).next_multiple_of(256);
    let pixels = if shallow { enough.min(h * w) } else { h * w };
    let others =
        source.batch.saturating_mul(source.walks[0].outputs).saturating_mul(q.shape.groups());
    let kept = match shallow {
        true => usize::MAX,
        false if channels < ROWS_OF_CELL && terms >= many_terms(kernels.isa) => {
            w * h.div_ceil(PARTS.div_ceil(others))
        }
        _ => 0,
    };
    let once = tiles == 1 || (tiles == 2 && source.is_far());
    let possible = q.is_inside() && q.sources.iter().all(Source::is_side_by_side);
    let touched =
        if once && possible && cols == Staging::InPlace { 0 } else { touched(kernels.isa) };
    let other = if q.pass == Pass::BackwardData { Staging::Packed } else { Staging::InPlace };
    Schedule {
        pixels: pixels.min(PIXELS),
        kept,
        taps: 8192,
        touched,
        ..Schedule::implicit(super::schedule::Corner::Pixels, cols, other)
    }
}

/// Blocks of filters as 0.1 weighs them, the cheapest first.
fn direct_blocks<T: Element>(q: &Question<'_, T>, list: &mut Vec<Schedule>) {
    let (shape, kernels) = (q.shape, q.kernels);
    let [inputs, outputs] = match q.pass {
        Pass::Forward => [shape.group_in(), shape.group_out()],
        _ => [shape.group_out(), shape.group_in()],
    };
    let taps = shape.kernel_taps();
    let few = inputs.max(outputs) <= 16 || outputs.min(inputs) <= 4;
    if !few || taps > STENCIL_TERMS || shape.layout() != Layout::ChannelsFirst {
        return;
    }
    let tiles = outputs.div_ceil(kernels.wide.rows);
    let rival = kernels.wide.gathering.as_ref().filter(|_| tiles > 2);
    if rival.is_some_and(|rival| tiles >= fewest(rival, taps.saturating_mul(inputs))) {
        return;
    }
    let stride = shape.axes3()[2].stride;
    let axes = shape.axes3();
    // What the first pair of stencils has.
    let (rows, by_twos, width) = match q.pass {
        Pass::Forward => (axes[1].kernel, axes[1].stride == 2, axes[2].output),
        _ => match q.sources.first() {
            Some(source) => (source.walks[1].taps, false, source.walks[2].outputs),
            None => return,
        },
    };
    let cost = |&block: &usize| outputs.div_ceil(block) * (2 * (block * rows).max(4) + 3);
    let mut blocks = [0; MOST_BLOCK];
    for (i, block) in blocks.iter_mut().enumerate() {
        *block = MOST_BLOCK - i;
    }
    blocks.sort_unstable_by_key(|block| (cost(block), MOST_BLOCK - block));
    for block in blocks {
        let hard = block < MOST_BLOCK || stride > 1;
        if (rival.is_some() && hard) || (by_twos && outputs > block) {
            continue;
        }
        let lanes = kernels.tall.vector;
        let filled = width as f64 / width.next_multiple_of(lanes) as f64 * outputs as f64
            / outputs.next_multiple_of(block) as f64;
        let (tall, _) = kernels.tall_for(outputs);
        let panels = outputs as f64 / outputs.next_multiple_of(tall.lanes) as f64;
        let stretches = tall.stretches.iter().any(|[len, _]| width.is_multiple_of(*len));
        let least = match panels {
            0.9.. if stretches => 0.9,
            0.7.. => 0.8,
            _ => 0.6,
        };
        if filled >= least {
            list.push(Schedule::direct(super::schedule::Corner::Pixels, Staging::Packed, block));
        }
    }
}

/// Whether it pays that each tap has terms of its own.
fn inside_pays<T>(source: &Source, kernel: &Kernel<T>) -> bool {
    let walks = &source.walks;
    let taps = walks.iter().fold(1, |taps: usize, walk| taps.saturating_mul(walk.taps));
    let room = Room::of(kernel, taps);
    if source.layout != Layout::ChannelsFirst || taps == 1 || room == Room::None {
        return false;
    }
    let height = source.channels.div_ceil(source.channels.div_ceil(kernel.rows));
    let left = walks.iter().map(Walk::met).product::<f64>() * (LOW / height as f64).max(1.0);
    let most = match (kernel.lanes == kernel.vector, room == Room::ForOneTile) {
        (true, true) => LEFT_OF_BOTH,
        (true, false) => LEFT_OF_ONE,
        (false, true) => LEFT_OF_MANY,
        (false, false) => 1.0,
    };
    left <= if source.is_crowded() { most * LEFT_OF_COPY } else { most }
}

/// What 0.1 chooses, and what it falls back to.
pub(crate) fn ranked<T: Element>(q: &Question<'_, T>) -> Result<Vec<Schedule>, Error> {
    use super::schedule::Corner;
    let (shape, kernels) = (q.shape, q.kernels);
    let mut list = room(16)?;
    let first = shape.layout() == Layout::ChannelsFirst;
    let Some(source) = q.sources.first() else { return Ok(list) };
    let depthwise = shape.groups() > 1 && shape.group_in() == 1;
    if first && depthwise {
        list.push(Schedule::direct(Corner::Pixels, Staging::InPlace, 0));
    }
    let group = [shape.group_in(), shape.group_out()];
    let blocked = shape.kernel_taps().saturating_mul(group[0].max(group[1])) <= MOST_TERMS;
    if !first && shape.groups() > 1 && blocked && Channels::fit(group, kernels.stencils.lanes) {
        list.push(Schedule::direct(Corner::Channels, Staging::Packed, 0));
    }
    let pixels = shape.batch().saturating_mul(shape.output_pixels());
    let few = FewPixels::is_possible(shape);
    if few && (q.pass != Pass::Forward || pixels <= 16) {
        list.push(Question::<T>::written());
    }
    let in_place = if source.is_crowded() { Staging::Copied } else { Staging::InPlace };
    if q.pass == Pass::BackwardWeight {
        if dots_pay(shape, kernels) {
            list.push(q.dot_rows(Staging::InPlace));
        } else if rows_pay(shape, kernels) {
            list.push(q.rows(in_place));
        }
        let turned = is_turned(shape);
        let count = if turned { shape.group_in() } else { shape.group_out() };
        let kernel = kernels.tall_for(count).0;
        if turned {
            let errors = Source::errors(shape, source.walks);
            let in_place = if errors.is_crowded() { Staging::Copied } else { Staging::InPlace };
            list.push(q.swapped(kernel.lanes, in_place));
        } else {
            if inside_pays(source, kernel) {
                list.push(q.panels(kernel.lanes, Padding::Skipped, in_place));
            }
            list.push(q.panels(kernel.lanes, Padding::Zeros, in_place));
        }
        return Ok(list);
    }
    if !few {
        direct_blocks(q, &mut list);
    }
    let lanes = match shape.layout() {
        Layout::ChannelsFirst => {
            let scattered = q.pass == Pass::BackwardData && shape.axes3()[2].stride > 1;
            Lanes::of(kernels, q.channels, &q.sources, PIXELS, scattered)?
        }
        Layout::ChannelsLast if terms_pay(kernels, q.channels, &q.sources) => Lanes::Terms,
        Layout::ChannelsLast => Lanes::Channels,
    };
    match lanes {
        Lanes::Channels => {
            let width = kernels.tall_for(q.channels).0.lanes;
            for other in [Staging::PackedPerBlock, Staging::Packed] {
                list.push(q.channels(width, Padding::Skipped, in_place, other));
            }
        }
        Lanes::Pixels => {
            let tiles = q.channels.div_ceil(kernels.wide.rows);
            let once = tiles == 1 || (tiles == 2 && source.is_far());
            list.push(q.pixels(if once { Staging::InPlace } else { in_place }));
        }
        Lanes::Terms => list.push(q.dots(in_place)),
    }
    Ok(list)
}
