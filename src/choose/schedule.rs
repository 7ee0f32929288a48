//! How one pass of a layer is computed, as plain data: what `explain()` prints, what tests and benches force, and what
//! can be kept and given back.

use core::fmt;
use core::str::FromStr;

/// What computes the pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// A matrix product over the view of the cols, which are never written down as a whole.
    Implicit,
    /// A direct convolution: a group has too few channels for a matrix.
    Direct,
    /// Winograd's algorithm: tiles of the plane are transformed into points, and multiplied there.
    Winograd,
    /// The textbook: the patch matrix is written down and multiplied by the crate `matrixmultiply`.
    Explicit,
}

/// A corner of the triangle: one of the three index sets of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Corner {
    /// The channels that are made.
    Channels,
    /// The pixels, over the batch.
    Pixels,
    /// The taps: a channel at one place of the filter.
    Taps,
}

/// How an operand reaches the micro-kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Staging {
    /// Read as it lies.
    InPlace,
    /// The part that a block needs is copied, with its zeros.
    Copied,
    /// Packed in panels, once for all blocks.
    Packed,
    /// Packed in panels by each block for itself.
    PackedPerBlock,
    /// Written down as a whole, as a matrix.
    Written,
}

/// What is done about products with padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Padding {
    /// Zeros are multiplied.
    Zeros,
    /// Such products are left out.
    Skipped,
    /// The lanes that would read padding are masked.
    Masked,
}

/// How one pass of a layer is computed: everything that was chosen for it.
///
/// It is plain data. [`Display`](fmt::Display) and [`FromStr`] are each other's reverse, so that a schedule can be kept as a
/// line of text and given back to a plan of the same layer with [`Plan::with_schedule`](crate::Plan::with_schedule). A
/// schedule of one version of this crate may be refused by another.
///
/// ```
/// use im2col::{Conv2d, Pass, Schedule};
/// let conv = Conv2d::<f32>::new([1, 64, 56, 56], [64, 64, 3, 3]).padding([1, 1]).plan()?;
/// let schedule = conv.schedule(Pass::Forward).expect("a plan for training has all passes");
/// let kept = schedule.to_string();
/// let again = conv.with_schedule(Pass::Forward, kept.parse::<Schedule>()?)?;
/// assert_eq!(again.schedule(Pass::Forward), Some(schedule));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Numbers that an engine doesn't ask for are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Schedule {
    /// What computes the pass.
    pub engine: Engine,
    /// The corner along which the lanes of the vectors lie. On the corner that is summed they make dot products, on
    /// another one micro-tiles.
    pub lanes: Corner,
    /// How cols, or the image under it, is staged.
    pub cols: Staging,
    /// How the other operand is staged: the weight, or the gradient of the output in `backward_weight`.
    pub other: Staging,
    /// What is done about products with padding.
    pub padding: Padding,
    /// Lanes of a panel and of the micro-tile; of a direct convolution, filters that are summed together.
    pub width: usize,
    /// The most pixels of a block.
    pub pixels: usize,
    /// The pixels that a block keeps while it has taps to give up.
    pub kept: usize,
    /// The most taps of a block.
    pub taps: usize,
    /// The most elements of the image that a block touches; 0 if it may be any number.
    pub touched: usize,
    /// The most partial sums.
    pub parts: usize,
    /// Outputs of a Winograd tile along an axis of the plane, whose blocks have at most `pixels` tiles, and sum (in
    /// `backward_weight`: make) at most `taps` channels at once.
    pub tile: usize,
}

impl Schedule {
    /// The textbook.
    pub(crate) const EXPLICIT: Self = Self {
        engine: Engine::Explicit,
        lanes: Corner::Pixels,
        cols: Staging::Written,
        other: Staging::InPlace,
        padding: Padding::Zeros,
        width: 0,
        pixels: 0,
        kept: 0,
        taps: 0,
        touched: 0,
        parts: 0,
        tile: 0,
    };

    /// A direct convolution of blocks of so many filters.
    pub(crate) const fn direct(lanes: Corner, other: Staging, width: usize) -> Self {
        Self {
            engine: Engine::Direct,
            lanes,
            cols: Staging::InPlace,
            other,
            padding: Padding::Masked,
            width,
            ..Self::EXPLICIT
        }
    }

    /// A product over the view, of no sizes yet.
    pub(crate) const fn implicit(lanes: Corner, cols: Staging, other: Staging) -> Self {
        Self { engine: Engine::Implicit, lanes, cols, other, ..Self::EXPLICIT }
    }

    /// Winograd's algorithm by tiles of so many outputs along an axis.
    pub(crate) const fn winograd(tile: usize) -> Self {
        Self {
            engine: Engine::Winograd,
            lanes: Corner::Channels,
            cols: Staging::Copied,
            other: Staging::Packed,
            tile,
            ..Self::EXPLICIT
        }
    }

    /// The numbers with their names, in the order in which they are printed.
    fn numbers(&self) -> [(&'static str, usize); 7] {
        let &Self { width, pixels, kept, taps, touched, parts, tile, .. } = self;
        let sizes = [("width", width), ("pixels", pixels), ("kept", kept), ("taps", taps)];
        let [a, b, c, d] = sizes;
        [("tile", tile), a, b, c, d, ("touched", touched), ("parts", parts)]
    }

    /// The number of this name.
    fn number(&mut self, name: &str) -> Option<&mut usize> {
        Some(match name {
            "width" => &mut self.width,
            "pixels" => &mut self.pixels,
            "kept" => &mut self.kept,
            "taps" => &mut self.taps,
            "touched" => &mut self.touched,
            "parts" => &mut self.parts,
            "tile" => &mut self.tile,
            _ => return None,
        })
    }
}

/// The names of the values of an enum: one list for printing and reading.
trait Named: Sized + Copy + PartialEq + 'static {
    const NAMES: &'static [(Self, &'static str)];

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(value, _)| *value == self).map_or("", |(_, name)| name)
    }

    fn of(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(value, _)| *value)
    }
}

impl Named for Engine {
    const NAMES: &'static [(Self, &'static str)] = &[
        (Engine::Implicit, "implicit"),
        (Engine::Direct, "direct"),
        (Engine::Winograd, "winograd"),
        (Engine::Explicit, "explicit"),
    ];
}

impl Named for Corner {
    const NAMES: &'static [(Self, &'static str)] =
        &[(Corner::Channels, "channels"), (Corner::Pixels, "pixels"), (Corner::Taps, "taps")];
}

impl Named for Staging {
    const NAMES: &'static [(Self, &'static str)] = &[
        (Staging::InPlace, "in-place"),
        (Staging::Copied, "copied"),
        (Staging::Packed, "packed"),
        (Staging::PackedPerBlock, "packed-per-block"),
        (Staging::Written, "written"),
    ];
}

impl Named for Padding {
    const NAMES: &'static [(Self, &'static str)] =
        &[(Padding::Zeros, "zeros"), (Padding::Skipped, "skipped"), (Padding::Masked, "masked")];
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self { engine, lanes, cols, other, padding, .. } = self;
        f.write_str(engine.name())?;
        if engine == Engine::Explicit {
            return Ok(());
        }
        write!(f, " lanes={} cols={} other={}", lanes.name(), cols.name(), other.name())?;
        write!(f, " padding={}", padding.name())?;
        for (name, number) in self.numbers() {
            if number > 0 {
                write!(f, " {name}={number}")?;
            }
        }
        Ok(())
    }
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} is not known: a schedule is an engine (implicit, direct, winograd, explicit) and fields such as lanes=channels, as `Schedule` prints them"
)]
pub struct ParseScheduleError {
    what: &'static str,
}

impl FromStr for Schedule {
    type Err = ParseScheduleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = |what| ParseScheduleError { what };
        let mut words = text.split_whitespace();
        let engine = words.next().and_then(Engine::of).ok_or(unknown("the engine"))?;
        let mut schedule = match engine {
            Engine::Explicit => Self::EXPLICIT,
            Engine::Direct => Self::direct(Corner::Pixels, Staging::InPlace, 0),
            Engine::Winograd => Self::winograd(0),
            Engine::Implicit => Self::implicit(Corner::Channels, Staging::Copied, Staging::Packed),
        };
        for word in words {
            let (name, value) = word.split_once('=').ok_or(unknown("a field without `=`"))?;
            match name {
                "lanes" => schedule.lanes = Corner::of(value).ok_or(unknown("the corner"))?,
                "cols" => schedule.cols = Staging::of(value).ok_or(unknown("the staging"))?,
                "other" => schedule.other = Staging::of(value).ok_or(unknown("the staging"))?,
                "padding" => {
                    schedule.padding = Padding::of(value).ok_or(unknown("the padding"))?;
                }
                _ => {
                    let number = schedule.number(name).ok_or(unknown("a field's name"))?;
                    *number = value.parse().map_err(|_| unknown("a number"))?;
                }
            }
        }
        if engine == Engine::Explicit && schedule != Self::EXPLICIT {
            return Err(unknown("a field of `explicit`, which has none,"));
        }
        Ok(schedule)
    }
}
