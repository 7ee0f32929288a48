//! `pixels x taps` times `taps x channels`: the product behind forward and backward_data.
//!
//! Forward gathers, for each output pixel, the image under the filter. Backward_data gathers, for
//! each input pixel, the outputs that it helped to make; with a stride, pixels fall into phases
//! that meet different taps, and each phase is a product of its own. Rows are pixels, terms are
//! taps read through the [`Patches`] view, lanes are channels in packed panels of weights.

use crate::element::Element;
use crate::gemm::grid::{Grid, Run, dense};
use crate::gemm::pack::{Source as Columns, pack};
use crate::gemm::target::{Cell, Target};
use crate::gemm::{Finish, Left, Right, multiply};
use crate::kernel::Kernel;
use crate::parallel::Parallelism;
use crate::patches::{Held, Limits, Patches, Source, Walk, pixel_pitches};
use crate::scratch::{Need, aligned};
use crate::shape::{Axis, Layout, MAX_AXES, Shape};
use alloc::vec::Vec;

/// Elements that a run may touch: with a panel of weights it has to stay in a L2 cache of 1 MiB.
const TOUCHED: usize = 160 << 10;

/// Taps of a run, which are the terms between two visits of the destination.
const TAPS: usize = 8192;

/// Pixels of a run, which are the rows of a cell.
const PIXELS: usize = 1568;

/// Multiplications that a cell should have, so that there are more cells than threads but each is
/// worth handing out: some 50 µs.
const CELL_WORK: usize = 3 << 20;

/// One product: its view, its destination and where the weights of each tap lie in a panel.
#[derive(Debug, Clone)]
pub(crate) struct Gather {
    patches: Patches,
    target: Target,
    weights: Grid,
    weights_base: usize,
}

/// The packed weights of a pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panels {
    groups: usize,
    /// Lanes of one group.
    lanes: usize,
    /// Panels of one group.
    per_group: usize,
    /// Elements of one panel.
    pitch: usize,
}

impl Panels {
    fn new(groups: usize, lanes: usize, terms: usize, width: usize) -> Self {
        Self { groups, lanes, per_group: lanes.div_ceil(width), pitch: terms.saturating_mul(width) }
    }

    /// Elements of all panels.
    pub(crate) fn len(&self) -> usize {
        self.pitch.saturating_mul(self.groups * self.per_group)
    }

    /// The group, first lane and lanes of panel `index`.
    fn panel(&self, index: usize, width: usize) -> (usize, usize, usize) {
        let first = index % self.per_group * width;
        (index / self.per_group, first, width.min(self.lanes - first))
    }

    /// The first panel of these lanes, given as a run of a [`Target`]'s.
    fn start(&self, lanes: &Run, width: usize) -> usize {
        (lanes.start[2] * self.per_group + lanes.start[3] / width) * self.pitch
    }
}

impl Gather {
    /// Forward, for panels `width` lanes wide.
    pub(crate) fn forward(shape: &Shape, width: usize) -> (Panels, Vec<Gather>) {
        let walks = shape.axes3().map(|axis| Walk {
            source: axis.input,
            outputs: axis.output,
            taps: axis.kernel,
            stride: axis.stride,
            dilation: axis.dilation,
            origin: -(axis.pad_begin as isize),
        });
        let source = Source {
            layout: shape.layout(),
            batch: shape.batch(),
            channels: shape.group_in(),
            all_channels: shape.in_channels(),
            walks,
        };
        let weights = dense(source.tap_sizes()).map(|pitch| pitch.saturating_mul(width));
        let panels = Panels::new(shape.groups(), shape.group_out(), shape.patch_len(), width);
        let (channels, pixels) = (shape.out_channels(), shape.output_pixels());
        let (pixel, lane) = match shape.layout() {
            Layout::ChannelsFirst => (1, pixels),
            Layout::ChannelsLast => (channels, 1),
        };
        let rows = pixel_pitches(source.pixel_sizes(), channels * pixels, pixel);
        let gather = Gather::new(source, [0, lane], rows, (weights, 0), &panels, width);
        (panels, Vec::from([gather]))
    }

    /// Backward_data: a product for each phase that meets a tap.
    pub(crate) fn backward_data(shape: &Shape, width: usize) -> (Panels, Vec<Gather>) {
        let taps = shape.kernel_taps();
        let panels = Panels::new(
            shape.groups(),
            shape.group_in(),
            shape.group_out().saturating_mul(taps),
            width,
        );
        let phases = shape.axes3().map(|axis| phases(&axis));
        let axes = shape.axes3();
        let kernels = dense([1, axes[0].kernel, axes[1].kernel, axes[2].kernel]);
        let (channels, pixels) = (shape.in_channels(), shape.input_pixels());
        let (pixel, lane) = match shape.layout() {
            Layout::ChannelsFirst => (1, pixels),
            Layout::ChannelsLast => (channels, 1),
        };
        let inputs = [1, axes[0].input, axes[1].input, axes[2].input];
        let [image, strides @ ..] = pixel_pitches(inputs, channels * pixels, pixel);
        let mut gathers = Vec::new();
        for d in &phases[0] {
            for h in &phases[1] {
                for w in &phases[2] {
                    let phase = [d, h, w];
                    let source = Source {
                        layout: shape.layout(),
                        batch: shape.batch(),
                        channels: shape.group_out(),
                        all_channels: shape.out_channels(),
                        walks: phase.map(|phase| phase.walk),
                    };
                    // Panels hold each output channel's taps last to first.
                    let tap = |a: usize| kernels[a + 1].saturating_mul(width);
                    let steps = [0, 1, 2].map(|a| phase[a].step.saturating_mul(tap(a)));
                    let base = (0..MAX_AXES).map(|a| phase[a].last.saturating_mul(tap(a))).sum();
                    let weights = (source.by_layout(taps.saturating_mul(width), steps), base);
                    let first = (0..MAX_AXES).map(|a| phase[a].first * strides[a]).sum();
                    let [a, b, c] = [0, 1, 2].map(|a| axes[a].stride.saturating_mul(strides[a]));
                    let rows = [image, a, b, c];
                    let places = [first, lane];
                    gathers.push(Gather::new(source, places, rows, weights, &panels, width));
                }
            }
        }
        (panels, gathers)
    }

    fn new(
        source: Source,
        [base, lane_pitch]: [usize; 2],
        rows: [usize; 4],
        (weights, weights_base): ([usize; 4], usize),
        panels: &Panels,
        width: usize,
    ) -> Self {
        let limits = Limits { pixels: PIXELS, taps: TAPS, touched: TOUCHED, keep_taps: true };
        let patches = Patches::new(source, limits, &[rows], &[weights]);
        let (pixels, taps) = (&patches.pixels, &patches.taps);
        let rows = Grid::new(source.pixel_sizes(), rows, pixels.run_sizes());
        let weights = Grid::new(source.tap_sizes(), weights, taps.run_sizes());
        // Fewer lanes to a cell until there is work for everybody.
        let row_work = pixels.table().len() * taps.len();
        let most = (CELL_WORK / row_work.max(1)).next_multiple_of(width).max(width);
        let lanes = [panels.groups, panels.lanes];
        let target = Target::new(rows, base, lanes, lane_pitch, most);
        Self { patches, target, weights, weights_base }
    }

    /// Elements of a worker's scratch.
    fn piece(&self) -> usize {
        self.patches.copy_len().next_multiple_of(16)
    }

    /// Fills one cell.
    fn run<T: Element>(
        &self,
        kernel: &Kernel<T>,
        panels: &Panels,
        mut cell: Cell<'_, T>,
        image: &[T],
        packed: &[T],
        finish: Finish<'_, T>,
        scratch: &mut [T],
        held: &mut Held,
    ) {
        let (rows, lanes) = (cell.rows(), cell.lanes());
        let group = lanes.start[2];
        let last = self.patches.taps.runs() - 1;
        for chunk in 0..=last {
            let taps = self.patches.taps.run(chunk);
            let data = self.patches.part(image, group, &rows, &taps, scratch, held);
            let left = Left {
                data,
                rows: &self.patches.pixels.table()[..rows.len],
                terms: &self.patches.taps.table()[..taps.len],
            };
            let start = panels.start(&lanes, kernel.lanes);
            let base = start + self.weights_base + self.weights.run(chunk).base;
            let right = Right {
                data: &packed[base..],
                panel_pitch: panels.pitch,
                terms: &self.weights.table()[..taps.len],
            };
            let first = group * panels.lanes + lanes.start[3];
            let finish = Finish {
                lane_bias: finish
                    .lane_bias
                    .filter(|_| chunk == 0)
                    .map(|b| &b[first..][..lanes.len]),
                accumulate: finish.accumulate || chunk > 0,
                clamp: finish.clamp.filter(|_| chunk == last),
            };
            multiply(kernel, &mut cell, left, right, finish);
        }
    }
}

/// What a gathering pass wants: packed weights for all, a copy for each worker.
pub(crate) fn need(panels: &Panels, gathers: &[Gather]) -> Need {
    Need {
        units: gathers.iter().map(|gather| gather.target.cells()).sum(),
        // The slack lets the panels begin on a cache line.
        shared: panels.len() + 16,
        piece: gathers.iter().map(Gather::piece).max().unwrap_or(0),
    }
}

/// Runs all products of a pass over one destination.
pub(crate) fn run<T: Element>(
    kernel: &Kernel<T>,
    parallelism: Parallelism,
    (panels, gathers): (&Panels, &[Gather]),
    image: &[T],
    packed: &[T],
    destination: &mut [T],
    finish: Finish<'_, T>,
    scratch: &mut [T],
) {
    for gather in gathers {
        let need = Need { units: gather.target.cells(), shared: 0, piece: gather.piece() };
        let cells = gather.target.over(destination);
        parallelism.for_each(need, cells, scratch, |cell, scratch, held| {
            gather.run(kernel, panels, cell, image, packed, finish, scratch, held);
        });
    }
}

/// Packs the weights of forward: lanes are output channels, terms lie as in the weight.
pub(crate) fn pack_forward<T: Element>(
    shape: &Shape,
    kernel: &Kernel<T>,
    parallelism: Parallelism,
    panels: &Panels,
    weight: &[T],
    packed: &mut [T],
) {
    let units = packed.chunks_mut(panels.pitch).enumerate();
    parallelism.for_each(Need::of_units(units.len()), units, &mut [] as &mut [T], |(i, to), _, _: &mut ()| {
        let (group, first, lanes) = panels.panel(i, kernel.lanes);
        let terms = shape.patch_len();
        let data = &weight[(group * panels.lanes + first) * terms..];
        let columns =
            Columns { data, lanes, lane: terms, cols: terms, col: 1, blocks: 1, block: 0 };
        pack(kernel, columns, to, false);
    });
}

/// Packs the weights of backward_data: lanes are input channels, terms are output channels with
/// the taps of each last to first.
pub(crate) fn pack_backward_data<T: Element>(
    shape: &Shape,
    kernel: &Kernel<T>,
    parallelism: Parallelism,
    panels: &Panels,
    weight: &[T],
    packed: &mut [T],
) {
    let taps = shape.kernel_taps();
    let (patch, outputs) = (shape.patch_len(), shape.group_out());
    let (lane, col) = match shape.layout() {
        Layout::ChannelsFirst => (taps, 1),
        Layout::ChannelsLast => (1, shape.group_in()),
    };
    let units = packed.chunks_mut(panels.pitch).enumerate();
    parallelism.for_each(Need::of_units(units.len()), units, &mut [] as &mut [T], |(i, to), _, _: &mut ()| {
        let (group, first, lanes) = panels.panel(i, kernel.lanes);
        let data = &weight[group * outputs * patch + first * lane..];
        let columns = if taps == 1 {
            Columns { data, lanes, lane: 1, cols: outputs, col: patch, blocks: 1, block: 0 }
        } else {
            Columns { data, lanes, lane, cols: taps, col, blocks: outputs, block: patch }
        };
        pack(kernel, columns, to, taps > 1);
    });
}

/// Splits the packed weights off the scratch.
pub(crate) fn carve<'a, T>(panels: &Panels, scratch: &'a mut [T]) -> (&'a mut [T], &'a mut [T]) {
    let (shared, pieces) = scratch.split_at_mut(panels.len() + 16);
    (&mut aligned(shared)[..panels.len()], pieces)
}

/// The input elements of one axis that meet the same taps: every `stride`-th from `first` on.
#[derive(Debug)]
struct Phase {
    /// The first such element.
    first: usize,
    /// The view of the outputs that they gather, in ascending order of outputs.
    walk: Walk,
    /// Taps between those that the phase meets.
    step: usize,
    /// Taps after the last that it meets.
    last: usize,
}

/// The phases of one axis that meet a tap.
///
/// Input `i` and tap `k` meet at output `o` if `i + pad = o * stride + k * dilation`. So `i` meets
/// the taps for which `k * dilation` and `i + pad` leave the same remainder by the stride: every
/// `stride / gcd(stride, dilation)`-th, from `k0` on.
fn phases(axis: &Axis) -> Vec<Phase> {
    let Axis { input, kernel, output, stride, dilation, pad_begin, .. } = *axis;
    let step = stride / gcd(stride, dilation);
    let firsts = (0..kernel.min(step)).filter_map(|k0| {
        // The smallest input that meets tap k0, which no smaller tap meets.
        let (tap, pad) = (k0 * dilation % stride, pad_begin % stride);
        let first = if tap >= pad { tap - pad } else { stride - (pad - tap) };
        if first >= input {
            return None;
        }
        let taps = (kernel - k0).div_ceil(step);
        let reach = dilation / gcd(stride, dilation);
        let (at, tap) = (first + pad_begin, k0 * dilation);
        let output0 = if at >= tap {
            ((at - tap) / stride) as isize
        } else {
            -(((tap - at) / stride) as isize)
        };
        let origin = output0 - ((taps - 1) * reach) as isize;
        let outputs = (input - first).div_ceil(stride);
        Some(Phase {
            first,
            walk: Walk { source: output, outputs, taps, stride: 1, dilation: reach, origin },
            step,
            last: kernel - 1 - k0 - (taps - 1) * step,
        })
    });
    firsts.collect()
}

/// Whether every input element meets a tap: otherwise some gradients are zero.
pub(crate) fn meets_all(shape: &Shape, gathers: &[Gather]) -> bool {
    let met: usize = gathers.iter().map(|gather| gather.target.rows().len()).sum();
    met == shape.batch() * shape.input_pixels()
}

/// Products that backward_data would take, each with tables of its own.
pub(crate) fn phase_count(shape: &Shape) -> usize {
    let per_axis = |axis: &Axis| {
        let step = axis.stride / gcd(axis.stride, axis.dilation);
        axis.kernel.min(step)
    };
    shape.axes3().iter().map(per_axis).fold(1, usize::saturating_mul)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
