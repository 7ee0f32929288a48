//! `pixels x taps` times `taps x channels`: the product behind forward and backward_data.
//!
//! Forward reads, for each output pixel, the image under the filter. Backward_data reads, for
//! each input pixel, the outputs that it helped to make; with a stride, pixels fall into phases
//! that meet different taps, and each phase is a product of its own. k are the taps, read through
//! the [`Cols`] view.
//!
//! Either operand can be the one with vectors. *Lanes are channels*: rows are pixels, broadcast
//! from wherever they lie, and weights are packed in panels. *Lanes are pixels*: rows are
//! channels, broadcast from the weights as they lie, and the view keeps the pixels of a block side
//! by side. Few channels fill no vector, few pixels don't pay for packing: `orientation` weighs them.
//! Channels last, both have the vectors where channels are few: *lanes are taps* (`taps`).

use crate::axis::Phases;
use crate::choose::schedule::{Corner, Padding, Schedule, Staging};
use crate::element::Element;
use crate::engine::implicit::regions::{Cut, Regions};
use crate::engine::implicit::steps::Steps;
use crate::error::Error;
use crate::gemm::dot::Tile;
use crate::gemm::grid::{Grid, dense, fit_tables};
use crate::gemm::target::{Order, Target};
use crate::kernel::{Kernel, Kernels};
use crate::scratch::{Need, room};
use crate::shape::{Layout, MAX_AXES, Shape};
use crate::view::cols::{Cols, Limits};
use crate::view::source::{Beside, Source, pixel_pitches};
use alloc::vec::Vec;
use core::fmt;

mod run;
mod sizes;

/// Elements of the largest panel that a worker packs for itself.
const OWN_PANEL: usize = 96 << 10;

/// Where the weights that the kernels read come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// The weights as they lie.
    None,
    /// Packed once for all blocks, by all workers.
    Shared,
    /// Packed by the one block that reads them, where each panel has only one.
    PerBlock,
}

/// Which pass it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    BackwardData,
}

/// All products of a pass, and how their weights are packed.
#[derive(Debug, Clone)]
pub(crate) struct OverTaps {
    pub(super) direction: Direction,
    pub(super) schedule: Schedule,
    pub(super) packing: Packing,
    pub(super) groups: usize,
    /// Channels of the destination in one group.
    pub(super) channels: usize,
    /// Terms of one channel's weights, over all products.
    k: usize,
    /// Channels that are packed together: the lanes of a panel, or 1.
    pub(super) width: usize,
    /// There is only one product.
    alone: bool,
    products: Vec<Product>,
}

/// One product: its view, its destination and where the weights of each tap lie in a panel.
#[derive(Debug, Clone)]
pub(super) struct Product {
    pub(super) cols: Cols,
    pub(super) target: Target,
    pub(super) weights: Grid,
    pub(super) weights_base: usize,
    /// Where the channels of a block lie among the weights, where they aren't packed in panels.
    pub(super) rows: Grid,
    /// Where lanes are taps: those that lie side by side, and how the sums are cut.
    pub(super) steps: Option<(Steps, Tile)>,
    /// Where lanes are channels: taps that meet only padding, left out.
    pub(super) regions: Option<Regions>,
}

impl OverTaps {
    /// The products of forward.
    ///
    /// None if the schedule isn't possible for this layer.
    pub(crate) fn forward<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        schedule: Schedule,
    ) -> Result<Option<Self>, Error> {
        let source = Source::input(shape);
        let k = shape.patch_len();
        let Some(mut pass) = Self::new(shape, kernels, Direction::Forward, schedule, 1)? else {
            return Ok(None);
        };
        let (channels, pixels) = (shape.out_channels(), shape.output_pixels());
        let (pixel, channel) = match shape.layout() {
            Layout::ChannelsFirst => (1, pixels),
            Layout::ChannelsLast => (channels, 1),
        };
        let weights = dense(source.tap_sizes()).map(|p| p.saturating_mul(pass.width));
        let places = pixel_pitches(source.pixel_sizes(), channels * pixels, pixel);
        pass.push(source, kernels, [0, channel], places, (weights, 0), k)?;
        Ok(pass.is_possible().then_some(pass))
    }

    /// The products of backward_data: one for each phase that meets a tap.
    pub(crate) fn backward_data<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        schedule: Schedule,
    ) -> Result<Option<Self>, Error> {
        let taps = shape.kernel_taps();
        let axes = shape.axes3();
        let phases = Phases::new(axes)?;
        let (direction, count) = (Direction::BackwardData, phases.len());
        let Some(mut pass) = Self::new(shape, kernels, direction, schedule, count)? else {
            return Ok(None);
        };
        let width = pass.width;
        let kernel = dense([1, axes[0].kernel, axes[1].kernel, axes[2].kernel]);
        let (channels, pixels) = (shape.in_channels(), shape.input_pixels());
        let (pixel, channel) = match shape.layout() {
            Layout::ChannelsFirst => (1, pixels),
            Layout::ChannelsLast => (channels, 1),
        };
        let inputs = [1, axes[0].input, axes[1].input, axes[2].input];
        let [image, strides @ ..] = pixel_pitches(inputs, channels * pixels, pixel);
        // Panels hold each output channel's taps last to first; as dot products want them, each tap's output channels.
        let [pitch, of_channel] = match schedule.lanes {
            Corner::Taps => [shape.group_out(), 1],
            Corner::Channels | Corner::Pixels => [width, taps.saturating_mul(width)],
        };
        for phase in phases.iter() {
            let source = Source::grad_output(shape, phase.map(|axis| axis.walk));
            let tap = |a: usize| kernel[a + 1].saturating_mul(pitch);
            let steps = [0, 1, 2].map(|a| phase[a].step.saturating_mul(tap(a)));
            let base = (0..MAX_AXES).map(|a| phase[a].last.saturating_mul(tap(a))).sum();
            let weights = (source.by_layout(of_channel, steps), base);
            let first = (0..MAX_AXES).map(|a| phase[a].first * strides[a]).sum();
            let [a, b, c] = [0, 1, 2].map(|a| axes[a].stride.saturating_mul(strides[a]));
            let k = source.tap_sizes().iter().product();
            pass.push(source, kernels, [first, channel], [image, a, b, c], weights, k)?;
        }
        Ok(pass.is_possible().then_some(pass))
    }

    /// A pass that will have so many products; none if the schedule isn't possible for them.
    fn new<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        direction: Direction,
        schedule: Schedule,
        products: usize,
    ) -> Result<Option<Self>, Error> {
        let (channels, k) = match direction {
            Direction::Forward => (shape.group_out(), shape.patch_len()),
            Direction::BackwardData => {
                (shape.group_in(), shape.group_out().saturating_mul(shape.kernel_taps()))
            }
        };
        let Schedule { lanes, width, other, .. } = schedule;
        let packing = match (lanes, direction, other) {
            (Corner::Channels, _, Staging::Packed) => Packing::Shared,
            (Corner::Channels, _, Staging::PackedPerBlock) => Packing::PerBlock,
            (Corner::Pixels | Corner::Taps, Direction::Forward, Staging::InPlace) => Packing::None,
            (Corner::Pixels | Corner::Taps, Direction::BackwardData, Staging::Packed) => {
                Packing::Shared
            }
            _ => return Ok(None),
        };
        // Lanes are pixels where those of a channel follow each other, and taps where the channels of a pixel do.
        let possible = match lanes {
            Corner::Channels => kernels.of_panels(width).is_some(),
            Corner::Pixels => shape.layout() == Layout::ChannelsFirst,
            Corner::Taps => shape.layout() == Layout::ChannelsLast,
        };
        if !possible || schedule.pixels == 0 || schedule.taps == 0 {
            return Ok(None);
        }
        let width = if lanes == Corner::Channels { width } else { 1 };
        let (groups, alone) = (shape.groups(), products == 1);
        let products = room(products)?;
        let pass =
            Self { direction, schedule, packing, groups, channels, k, width, alone, products };
        Ok(Some(pass))
    }

    /// Whether each panel that a block packs for itself has no other block that reads it.
    fn is_possible(&self) -> bool {
        let one_block = |product: &Product| product.cols.pixels.blocks() == 1;
        // A copy of whatever a block touches would be of any size.
        let bounded = |product: &Product| product.cols.copy_len() == 0;
        if self.schedule.touched == 0 && !self.products.iter().all(bounded) {
            return false;
        }
        self.packing != Packing::PerBlock
            || (self.alone && self.panel() <= OWN_PANEL && self.products.iter().all(one_block))
    }

    /// The kernel of the panels.
    pub(super) fn kernel<'a, T>(&self, kernels: &'a Kernels<T>) -> &'a Kernel<T> {
        kernels.of_panels(self.width).unwrap_or(&kernels.tall)
    }

    /// Adds a product: its source, the places of its pixels and channels in the destination
    /// (`base` and the channels' pitch; the pixels' pitches), those of its weights in a panel.
    fn push<T: Element>(
        &mut self,
        source: Source,
        kernels: &Kernels<T>,
        [base, channel]: [usize; 2],
        places: [usize; 4],
        (weights, weights_base): ([usize; 4], usize),
        k: usize,
    ) -> Result<(), Error> {
        let limits = self.limits(channel == 1);
        let mut cols = Cols::new(source, limits, &[places], &[weights]);
        let (pixel_block, tap_block) = (cols.pixels.block_sizes(), cols.taps.block_sizes());
        let mut weights = Grid::untabled(source.tap_sizes(), weights, tap_block);
        let pixels = cols.pixels.block_len();
        let (mut regions, mut steps) = (None, None);
        let lanes = self.schedule.lanes;
        if lanes == Corner::Channels && self.schedule.padding == Padding::Skipped {
            let pixels = cols.weighed_block();
            let cut = Cut::best(&source, self.channels, pixels, self.kernel(kernels).rows)?;
            if cut.is_taken(&source, &cols.taps) {
                if cut.is_inside(&source) && self.schedule.cols == Staging::InPlace {
                    cols.in_place();
                }
                cols.without_padding(cut.unread());
                regions = Some(Regions::new(cut, &source, &cols.taps, &weights)?);
            }
        }
        if lanes != Corner::Pixels {
            cols.pixels.make_table()?;
        }
        // Regions and steps have tables of their own.
        if regions.is_none() && lanes != Corner::Taps {
            cols.taps.make_table()?;
            weights.make_table()?;
        }
        let runs = cols.weighed_blocks();
        let most = self.channels_of_block(kernels, pixels.saturating_mul(k), runs);
        let sizes = [1, 1, self.groups, self.channels];
        let pitches = |pitch: usize| [0, 0, self.channels.saturating_mul(pitch), pitch];
        let run = [1, 1, 1, most.min(self.channels)];
        let (target, rows) = match lanes {
            Corner::Channels => {
                let pixels = Grid::new(source.pixel_sizes(), places, pixel_block)?;
                let channels = Grid::untabled(sizes, pitches(channel), run);
                let target = Target::new(pixels, channels, base, channel, Order::RowsOutside);
                (target, Grid::line(1, 0, 1)?)
            }
            Corner::Taps => {
                let run = fit_tables(run, &[pitches(self.k)]);
                let pixels = Grid::new(source.pixel_sizes(), places, pixel_block)?;
                let channels = Grid::untabled(sizes, pitches(channel), run);
                let target = Target::new(pixels, channels, base, channel, Order::RowsOutside);
                let rows = Grid::new(sizes, pitches(self.k), run)?;
                let pitches = [cols.taps.pitches(), weights.pitches()];
                let (a, b) = (cols.pixels.block_offsets(), rows.block_offsets());
                let tile = Tile::of(kernels.dots.columns, a, b);
                steps = Some((Steps::new(tap_block, pitches)?, tile));
                (target, rows)
            }
            Corner::Pixels => {
                let run = fit_tables(run, &[pitches(channel), pitches(self.k)]);
                let pixels = Grid::untabled(source.pixel_sizes(), places, pixel_block);
                let channels = Grid::new(sizes, pitches(channel), run)?;
                let rows = Grid::new(sizes, pitches(self.k), run)?;
                let target = Target::new(channels, pixels, base, places[3], Order::ColumnsOutside);
                (target, rows)
            }
        };
        self.products.push(Product { cols, target, weights, weights_base, rows, steps, regions });
        Ok(())
    }

    /// What the blocks of a product's view may be, whose channels lie side by side or don't.
    fn limits(&self, beside_channels: bool) -> Limits {
        let Schedule { lanes, cols, kept, taps, touched, .. } = self.schedule;
        let pixels = self.pixels_of_block(beside_channels);
        let touched = if touched == 0 { usize::MAX } else { touched };
        let beside = if lanes == Corner::Pixels { Beside::Planes } else { Beside::None };
        Limits { pixels, taps, touched, kept, beside, in_place: cols == Staging::InPlace }
    }

    /// Panels of one group.
    pub(super) fn per_group(&self) -> usize {
        self.channels.div_ceil(self.width)
    }

    /// Elements of one panel.
    pub(super) fn panel(&self) -> usize {
        self.k.saturating_mul(self.width)
    }

    /// Elements of all packed weights.
    pub(crate) fn packed_len(&self) -> usize {
        self.panel().saturating_mul(self.groups * self.per_group())
    }

    /// What the pass wants: packed weights for all or for each worker, a copy for each worker.
    pub(crate) fn need(&self) -> Need {
        let copy = self.products.iter().map(|product| product.cols.copy_len()).max();
        let copy = copy.unwrap_or(0).next_multiple_of(16);
        // The slack of a line lets panels begin on one.
        let shared = if self.packing == Packing::Shared { self.packed_len() + 16 } else { 0 };
        let own = if self.packing == Packing::PerBlock { self.panel() + 16 } else { 0 };
        let units = self.products.iter().map(|product| product.target.blocks()).sum();
        Need { units, shared, piece: copy.saturating_add(own).next_multiple_of(16) }
    }

    /// One line: how the pass is computed.
    pub(crate) fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let products = self.products.len();
        match self.schedule.lanes {
            Corner::Channels => write!(f, "lanes are channels, {} to a panel", self.width)?,
            Corner::Pixels => write!(f, "lanes are pixels, rows are channels")?,
            Corner::Taps => write!(f, "few channels: dot products along those that are summed")?,
        }
        match self.packing {
            Packing::None => write!(f, "; weights read as they lie")?,
            Packing::Shared => write!(f, "; weights packed once for all workers")?,
            Packing::PerBlock => write!(f, "; each panel of weights packed by its one reader")?,
        }
        if products != 1 {
            write!(f, "; {products} products, one for each phase of the stride")?;
        }
        if let Some(product) = self.products.first() {
            let blocks: usize = self.products.iter().map(|product| product.target.blocks()).sum();
            write!(f, "; {blocks} blocks, {}", product.cols)?;
            if product.regions.is_some() {
                write!(f, "; taps that meet only padding are left out")?;
            }
        }
        Ok(())
    }

    /// Whether every element of grad_input gets a sum: otherwise some are zero.
    pub(crate) fn fills(&self, shape: &Shape) -> bool {
        let pixels = |product: &Product| product.cols.pixels.len();
        let filled: usize = self.products.iter().map(pixels).sum();
        filled == shape.batch() * shape.input_pixels()
    }
}
