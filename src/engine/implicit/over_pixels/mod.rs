//! `taps x pixels` times `pixels x channels`: the product behind backward_weight.
//!
//! The same view as forward with its tables swapped: rows are taps, and k are the pixels. Lanes are
//! output channels, in panels transposed from grad_output block by block. Few output channels
//! would leave such panels empty, and few taps wouldn't pay for them: there, pixels lie side by side in both operands,
//! and tiles of dot products sum them. Channels last, the channels of a row of taps lie side by side: it can have the
//! lanes, and output channels are the rows, with nothing packed. Where every pixel meets one tap, image and
//! grad_output are alike, and the image is the one that is transposed if it has at most half as many channels.

use crate::choose::schedule::{Corner, Padding, Schedule, Staging};
use crate::element::Element;
use crate::engine::implicit::classes::Classes;
use crate::engine::implicit::steps::Steps;
use crate::engine::partial_sums::{self, PARTIALS};
use crate::error::Error;
use crate::gemm::dot::Tile;
use crate::gemm::grid::{Grid, dense, fit_tables};
use crate::gemm::target::{Order, Target};
use crate::kernel::{Kernel, Kernels};
use crate::scratch::Need;
use crate::shape::{Axis, Layout, Shape};
use crate::view::cols::{Cols, Limits};
use crate::view::source::{Beside, Source, pixel_pitches};
use core::fmt;

mod run;

/// Units of work that a layer should have, where it can.
const BLOCKS: usize = 8;

/// Tiles of a block of output channels, where they are rows, and those of two blocks at least: each block copies the image
/// anew, which two threads are worth and four not always.
const TILES: usize = 9;
const TILES_OF_TWO: usize = 4;

/// The product, its view and its destination.
#[derive(Debug, Clone)]
pub(crate) struct OverPixels {
    cols: Cols,
    target: Target,
    sums: Sums,
    /// Parts of the sum over the pixels that are summed by themselves, as the shape decides.
    parts: usize,
}

/// How the product is summed.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "one of it to a plan")]
enum Sums {
    Panels(Panels),
    Dots(Dots),
    Rows(Rows),
}

/// Rows are taps, lanes are output channels.
#[derive(Debug, Clone)]
struct Panels {
    /// Where each pixel of a block lies in a panel.
    in_panel: Grid,
    /// Lanes of a panel, and of the longest block of lanes.
    width: usize,
    lanes: usize,
    /// The view is of grad_output, and rows are output channels: lanes are the image's channels.
    swapped: bool,
    /// What each tap meets, where that is worth looking at.
    classes: Option<Classes>,
}

/// Rows are output channels, columns are taps, and rows of pixels are steps.
#[derive(Debug, Clone)]
struct Dots {
    /// Where each channel of a block lies in grad_output.
    channels: Grid,
    /// Where each row of a block of pixels begins there, and in the view.
    of_output: Grid,
    of_view: Grid,
    tile: Tile,
}

/// Channels last, of few outputs: rows are output channels, lanes are rows of taps as they lie.
#[derive(Debug, Clone)]
struct Rows {
    /// Where each output channel of a block lies in grad_output, and each pixel.
    channels: Grid,
    of_output: Grid,
    steps: Steps,
}

impl OverPixels {
    /// Backward_weight; none if the schedule isn't possible for this layer.
    pub(crate) fn new<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        schedule: Schedule,
    ) -> Result<Option<Self>, Error> {
        use Staging::{Copied, InPlace, PackedPerBlock};
        if schedule.pixels == 0 || schedule.taps == 0 || schedule.parts == 0 {
            return Ok(None);
        }
        let first = shape.layout() == Layout::ChannelsFirst;
        match (schedule.lanes, schedule.cols, schedule.other) {
            (Corner::Pixels, InPlace | Copied, InPlace) if first => {
                Self::dots(shape, kernels.dots.columns, schedule)
            }
            (Corner::Taps, InPlace | Copied, InPlace) if !first => {
                Self::rows(shape, &kernels.wide, schedule)
            }
            (Corner::Channels, InPlace | Copied, PackedPerBlock) => {
                match kernels.of_panels(schedule.width) {
                    Some(kernel) => Self::panels(shape, kernel, schedule, false),
                    None => Ok(None),
                }
            }
            (Corner::Taps, PackedPerBlock, InPlace | Copied) if is_pointwise(shape) => {
                match kernels.of_panels(schedule.width) {
                    Some(kernel) => Self::panels(shape, kernel, schedule, true),
                    None => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    /// The product in panels, of output channels or, with the operands swapped, of the image's.
    fn panels<T: Element>(
        shape: &Shape,
        kernel: &Kernel<T>,
        schedule: Schedule,
        swapped: bool,
    ) -> Result<Option<Self>, Error> {
        let input = Source::input(shape);
        // Every pixel's tap reads grad_output as it reads the image.
        let source = if swapped { Source::grad_output(shape, input.walks) } else { input };
        // The weights' pitches of the lanes' channels and of the rows'.
        let (count, pitch, rows) = match swapped {
            true => (shape.group_in(), 1, source.by_layout(shape.patch_len(), [0; 3])),
            false => (shape.group_out(), shape.patch_len(), dense(source.tap_sizes())),
        };
        let skipped = schedule.padding == Padding::Skipped;
        if skipped && !Classes::is_possible(&source, kernel) {
            return Ok(None);
        }
        let in_place = if swapped { schedule.other } else { schedule.cols } == Staging::InPlace;
        let taps = match skipped {
            true => Classes::taps_of_run(&source, kernel, schedule.taps),
            false => schedule.taps,
        };
        let limits = Limits { taps, in_place, ..limits(schedule, Beside::None) };
        let width = kernel.lanes;
        let mut cols = Cols::new(source, limits, &[], &[rows]);
        let run = cols.pixels.block_len();
        let mut in_panel = Grid::untabled([1, 1, 1, run], [0, 0, 0, width], [1, 1, 1, run]);
        let classes = match skipped {
            true => Some(Classes::new(&source, &mut cols, width, in_place)?),
            false => None,
        };
        if matches!(classes, Some(None)) {
            return Ok(None);
        }
        let classes = classes.flatten();
        // Else each tap has pixels of its own.
        if classes.is_none() {
            cols.pixels.make_table()?;
            cols.taps.make_table()?;
            in_panel.make_table()?;
        }
        let taps = &cols.taps;
        let rows = Grid::new(source.tap_sizes(), rows, taps.block_sizes())?;
        // Enough blocks for many threads, as long as they have panels of their own.
        let mut lanes = count.next_multiple_of(width).min(8 * width);
        while lanes > width && rows.blocks() * shape.groups() * count.div_ceil(lanes) < BLOCKS {
            lanes = (lanes / 2).next_multiple_of(width);
        }
        let channels = Grid::untabled(
            [1, 1, shape.groups(), count],
            [0, 0, shape.group_out().saturating_mul(shape.patch_len()), pitch],
            [1, 1, 1, lanes.min(count)],
        );
        let target = Target::new(rows, channels, 0, pitch, Order::RowsOutside);
        let parts = parts(shape, &target, &cols, schedule);
        let sums = Sums::Panels(Panels { in_panel, width, lanes, swapped, classes });
        Ok(Some(Self { cols, target, sums, parts }))
    }

    /// The product in dot products, of channels-first tensors.
    fn dots(shape: &Shape, columns: &[usize], schedule: Schedule) -> Result<Option<Self>, Error> {
        let source = Source::input(shape);
        let limits = limits(schedule, Beside::Rows);
        let pixels = shape.output_pixels();
        let [n, d, h, w] = source.pixel_sizes();
        let pitches = pixel_pitches([n, d, h, w], shape.out_channels() * pixels, 1);
        let mut cols = Cols::new(source, limits, &[pitches], &[]);
        cols.taps.make_table()?;
        // A step is a row of pixels.
        let [images, depths, heights, _] = cols.pixels.block_sizes();
        let run = [images, depths, heights, 1];
        let rows = |pitches| Grid::new([n, d, h, 1], pitches, run);
        let (target, channels) = outputs_by_taps(shape, &cols, shape.group_out(), pixels)?;
        let parts = parts(shape, &target, &cols, schedule);
        let sums = Sums::Dots(Dots {
            tile: Tile::of(columns, channels.block_offsets(), cols.taps.block_offsets()),
            channels,
            of_output: rows(pitches)?,
            of_view: rows(cols.pixels.pitches())?,
        });
        Ok(Some(Self { cols, target, sums, parts }))
    }

    /// The product of few output channels with the image as it lies, channels last; none if a block of taps may have a
    /// step that fills no vector.
    fn rows<T: Element>(
        shape: &Shape,
        kernel: &Kernel<T>,
        schedule: Schedule,
    ) -> Result<Option<Self>, Error> {
        let source = Source::input(shape);
        let limits = limits(schedule, Beside::None);
        let of_all = shape.out_channels();
        let (pixel_sizes, tap_sizes) = (source.pixel_sizes(), source.tap_sizes());
        let pitches = pixel_pitches(pixel_sizes, of_all * shape.output_pixels(), of_all);
        let mut cols = Cols::new(source, limits, &[pitches], &[]);
        let run = cols.taps.block_sizes();
        let steps = Steps::new(run, [cols.taps.pitches(), dense(tap_sizes)])?;
        if steps.least(tap_sizes) < kernel.vector {
            return Ok(None);
        }
        cols.pixels.make_table()?;
        let units = shape.groups() * cols.taps.blocks() * most_parts(shape, &cols, schedule);
        let of_tiles = |tiles| shape.group_out() / (tiles * kernel.rows);
        let most = of_tiles(TILES).max(of_tiles(TILES_OF_TWO).min(2));
        let blocks = BLOCKS.div_ceil(units).clamp(1, most.max(1));
        let outputs = shape.group_out().div_ceil(blocks).next_multiple_of(kernel.rows);
        let (target, channels) = outputs_by_taps(shape, &cols, outputs, 1)?;
        let parts = parts(shape, &target, &cols, schedule);
        let sums = Sums::Rows(Rows {
            channels,
            of_output: Grid::new(pixel_sizes, pitches, cols.pixels.block_sizes())?,
            steps,
        });
        Ok(Some(Self { cols, target, sums, parts }))
    }

    /// Elements of partial sums.
    fn partials(&self) -> usize {
        partial_sums::elements(self.parts, self.target.rows().len() * self.target.columns().len())
    }

    /// A copy and the panels of one block for each worker, and the partial sums.
    pub(crate) fn need(&self) -> Need {
        Need {
            units: self.target.blocks() * self.parts,
            shared: self.partials(),
            piece: self.panels_len() + self.cols.copy_len().next_multiple_of(16),
        }
    }

    /// Elements of the panels of one block, with the slack that lets them begin on a line.
    fn panels_len(&self) -> usize {
        match &self.sums {
            Sums::Panels(sums) => sums.in_panel.block_len() * sums.lanes + 16,
            Sums::Dots(_) | Sums::Rows(_) => 0,
        }
    }

    /// One line: how the pass is computed.
    pub(crate) fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sums {
            Sums::Panels(Panels { width, swapped: false, .. }) => {
                write!(f, "rows are taps, lanes are output channels, {width} to a panel")?;
            }
            Sums::Panels(Panels { width, swapped: true, .. }) => {
                write!(f, "rows are output channels, lanes are taps, {width} to a panel")?;
            }
            Sums::Dots(_) => {
                write!(f, "few output channels or taps: dot products along the pixels")?
            }
            Sums::Rows(_) => {
                write!(f, "few output channels: lanes are rows of taps as they lie")?;
            }
        }
        write!(f, "; {} blocks in {} parts, {}", self.target.blocks(), self.parts, self.cols)?;
        if let Sums::Panels(Panels { classes: Some(classes), .. }) = &self.sums {
            write!(f, "; tiles have one tap of each channel")?;
            if classes.leaves_out() {
                write!(f, ", and leave out the pixels where it meets padding")?;
            }
        }
        Ok(())
    }
}

/// The destination with output channels for rows, at most `most` to a block, and a view's taps for lanes, and where the
/// channels of a block lie in grad_output, `pitch` apart.
fn outputs_by_taps(
    shape: &Shape,
    cols: &Cols,
    most: usize,
    pitch: usize,
) -> Result<(Target, Grid), Error> {
    let (groups, outputs, patch) = (shape.groups(), shape.group_out(), shape.patch_len());
    let pitches = |pitch: usize| [0, 0, outputs.saturating_mul(pitch), pitch];
    let run = fit_tables([1, 1, 1, most.min(outputs)], &[pitches(pitch), pitches(patch)]);
    let channels = |pitch: usize| Grid::new([1, 1, groups, outputs], pitches(pitch), run);
    let (sizes, taps) = (Source::input(shape).tap_sizes(), &cols.taps);
    let taps = Grid::untabled(sizes, dense(sizes), taps.block_sizes());
    let target = Target::new(channels(patch)?, taps, 0, 1, Order::RowsOutside);
    Ok((target, channels(pitch)?))
}

/// Parts that the sum is cut into: several where there are few blocks, as many as have room.
fn parts(shape: &Shape, target: &Target, cols: &Cols, schedule: Schedule) -> usize {
    BLOCKS.div_ceil(target.blocks()).min(most_parts(shape, cols, schedule))
}

/// The most parts that a sum can be cut into.
fn most_parts(shape: &Shape, cols: &Cols, schedule: Schedule) -> usize {
    (PARTIALS / shape.weight_len()).min(schedule.parts).min(cols.pixels.blocks()).max(1)
}

/// What the blocks of a view may be.
fn limits(schedule: Schedule, beside: Beside) -> Limits {
    let Schedule { cols, pixels, kept, taps, touched, .. } = schedule;
    let touched = if touched == 0 { usize::MAX } else { touched };
    Limits { pixels, taps, touched, kept, beside, in_place: cols == Staging::InPlace }
}

/// Whether every pixel meets one tap, so that image and grad_output can change their places: both are read alike.
pub(crate) fn is_pointwise(shape: &Shape) -> bool {
    let same = |a: &Axis| a.kernel == 1 && a.stride == 1 && a.input == a.output;
    shape.axes3().iter().all(same)
}
