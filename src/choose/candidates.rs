//! The schedules that are possible for a pass of a layer.

use super::schedule::{Corner, Padding, Schedule, Staging};
use crate::element::Element;
use crate::engine::backward_weight::is_pointwise;
use crate::engine::classes::Inside;
use crate::engine::direct::STENCIL_TERMS;
use crate::engine::few_pixels::FewPixels;
use crate::engine::regions::Cut;
use crate::error::Error;
use crate::kernel::Kernels;
use crate::kernel::stencil::{Channels, MOST_BLOCK, MOST_TERMS};
use crate::pass::Pass;
use crate::scratch::room;
use crate::shape::{Layout, Shape};
use crate::view::axis::Walk;
use crate::view::phases::{phase_count, phases};
use crate::view::source::Source;
use alloc::vec::Vec;

/// Phases of `backward_data` that have products of their own: each has tables, which a plan holds.
const MOST_PHASES: usize = 64;

/// The most channels that a product in dot products may have, and the fewest of either side that aren't worth a direct
/// convolution: neither could be the fastest beyond them.
const MOST_DOTS: usize = 64;
const MOST_DIRECT: usize = 16;

/// Taps of a block, which are what is summed between two visits of the destination.
const TAPS: usize = 8192;

/// Pixels of a block, which are the rows of its product.
pub(super) const PIXELS: usize = 1568;

/// The same of `backward_weight`, whose sums are over the pixels, and elements of the image that its blocks touch.
const SUMMED_PIXELS: usize = 1024;
const ROWS_OF_TAPS: usize = 616;
const SUMMED_TOUCHED: usize = 128 << 10;

/// Elements that the rows and columns of a tile of dot products have in a block: in part they are the same lines.
const DOT_ELEMENTS: usize = 24 << 10;

/// The most partial sums, where `backward_weight` has few blocks.
const PARTS: usize = 8;

/// A pass of a layer, as its candidates are made for it.
pub(crate) struct Question<'a, T: 'static> {
    pub(crate) shape: &'a Shape,
    pub(crate) pass: Pass,
    pub(crate) kernels: &'a Kernels<T>,
    /// What the pass reads, phase by phase; none if it has too many of them.
    pub(crate) sources: Vec<Source>,
    /// Channels of a group in the tensor that is made, or in the gradient of the output.
    pub(crate) channels: usize,
}

impl<'a, T: Element> Question<'a, T> {
    pub(crate) fn new(
        shape: &'a Shape,
        pass: Pass,
        kernels: &'a Kernels<T>,
    ) -> Result<Self, Error> {
        let mut sources;
        let mut channels = shape.group_out();
        if pass != Pass::BackwardData {
            sources = room(1)?;
            sources.push(Source::input(shape));
        } else {
            channels = shape.group_in();
            if phase_count(shape) > MOST_PHASES {
                sources = Vec::new();
            } else {
                let axes = shape.axes3();
                let [ds, hs, ws] = [phases(&axes[0])?, phases(&axes[1])?, phases(&axes[2])?];
                sources = room(ds.len() * hs.len() * ws.len())?;
                for d in &ds {
                    for h in &hs {
                        let errors = |w| Source::errors(shape, [d.walk, h.walk, w]);
                        sources.extend(ws.iter().map(|w| errors(w.walk)));
                    }
                }
            }
        }
        Ok(Self { shape, pass, kernels, sources, channels })
    }

    /// Whether every product reads its image only, never padding.
    pub(crate) fn is_inside(&self) -> bool {
        self.sources.iter().all(|source| source.walks.iter().all(Walk::is_inside))
    }

    /// Every schedule that is possible as far as sizes tell: an engine may refuse one of them.
    pub(crate) fn candidates(&self) -> Result<Vec<Schedule>, Error> {
        let mut list = room(64)?;
        let mut add = |schedule| {
            if list.len() < list.capacity() {
                list.push(schedule);
            }
        };
        self.direct(&mut add);
        match self.pass {
            Pass::Forward | Pass::BackwardData => self.gathered(&mut add),
            Pass::BackwardWeight => self.summed(&mut add),
        }
        if FewPixels::is_possible(self.shape) {
            add(Self::written());
        }
        Ok(list)
    }

    /// The widths of panels that there are.
    fn widths(&self) -> impl Iterator<Item = usize> {
        let narrow = self.kernels.narrow.as_ref().map(|kernel| kernel.lanes);
        core::iter::once(self.kernels.tall.lanes).chain(narrow)
    }

    /// cols written down as a matrix.
    pub(super) const fn written() -> Schedule {
        Schedule::implicit(Corner::Taps, Staging::Written, Staging::InPlace)
    }

    /// Direct convolutions.
    fn direct(&self, add: &mut impl FnMut(Schedule)) {
        let shape = self.shape;
        let taps = shape.kernel_taps();
        let group = [shape.group_in(), shape.group_out()];
        let modest = shape.batch() / STENCIL_TERMS <= shape.output_pixels();
        let no_phases = self.sources.is_empty();
        match shape.layout() {
            Layout::ChannelsFirst => {
                if shape.groups() > 1
                    && group[0] == 1
                    && taps <= STENCIL_TERMS
                    && modest
                    && !no_phases
                {
                    add(Schedule::direct(Corner::Pixels, Staging::InPlace, 0));
                }
                let summed = self.pass == Pass::BackwardWeight;
                let alternate = self.pass == Pass::BackwardData && shape.axes3()[2].stride > 2;
                let few = group[0].min(group[1]) <= MOST_DIRECT && taps <= STENCIL_TERMS;
                if !summed && !alternate && few && !no_phases {
                    for block in 1..=MOST_BLOCK {
                        add(Schedule::direct(Corner::Pixels, Staging::Packed, block));
                    }
                }
            }
            Layout::ChannelsLast => {
                let few = Channels::fit(group, self.kernels.stencils.lanes);
                let blocked = taps.saturating_mul(group[0].max(group[1])) <= MOST_TERMS && modest;
                if shape.groups() > 1 && few && blocked && !no_phases {
                    add(Schedule::direct(Corner::Channels, Staging::Packed, 0));
                }
            }
        }
    }

    /// Products of forward and backward_data.
    fn gathered(&self, add: &mut impl FnMut(Schedule)) {
        let Some(first) = self.sources.first() else { return };
        let inside = self.sources.iter().any(|s| s.walks.iter().all(Walk::is_inside));
        let padded = self.sources.iter().any(|source| Cut::least(source) < 1.0);
        let pixels = first.pixel_sizes().iter().product::<usize>();
        for width in self.widths() {
            for padding in [Padding::Zeros, Padding::Skipped] {
                if padding == Padding::Skipped && !padded {
                    continue;
                }
                for cols in [Staging::InPlace, Staging::Copied] {
                    if cols == Staging::InPlace && padding == Padding::Zeros && !inside {
                        continue;
                    }
                    for other in [Staging::Packed, Staging::PackedPerBlock] {
                        let alone = self.sources.len() == 1 && pixels <= PIXELS;
                        if other == Staging::Packed || alone {
                            add(self.channels(width, padding, cols, other));
                        }
                    }
                }
            }
        }
        let stagings = [Staging::InPlace, Staging::Copied];
        let beside = self.sources.iter().all(Source::is_side_by_side);
        let dots = self.channels <= MOST_DOTS;
        for cols in stagings {
            match self.shape.layout() {
                Layout::ChannelsFirst if cols == Staging::Copied || (inside && beside) => {
                    add(self.pixels(cols));
                }
                Layout::ChannelsLast if dots && (cols == Staging::Copied || inside) => {
                    add(self.dots(cols));
                }
                _ => {}
            }
        }
    }

    /// Lanes are channels.
    pub(super) fn channels(
        &self,
        width: usize,
        padding: Padding,
        cols: Staging,
        other: Staging,
    ) -> Schedule {
        let (pixels, taps, touched) = (PIXELS, TAPS, self.touched());
        let schedule = Schedule::implicit(Corner::Channels, cols, other);
        Schedule { width, padding, pixels, taps, touched, ..schedule }
    }

    /// Lanes are pixels.
    pub(super) fn pixels(&self, cols: Staging) -> Schedule {
        super::first::pixels(self, cols)
    }

    /// Lanes are taps, which lie side by side.
    pub(super) fn dots(&self, cols: Staging) -> Schedule {
        let (pixels, taps, touched) = (PIXELS, TAPS, self.touched());
        let other = match self.pass {
            Pass::BackwardData => Staging::Packed,
            Pass::Forward | Pass::BackwardWeight => Staging::InPlace,
        };
        Schedule { pixels, taps, touched, ..Schedule::implicit(Corner::Taps, cols, other) }
    }

    /// Products of backward_weight.
    fn summed(&self, add: &mut impl FnMut(Schedule)) {
        let Some(source) = self.sources.first() else { return };
        let inside = self.is_inside();
        let first = self.shape.layout() == Layout::ChannelsFirst;
        let by_tap = source.walks.iter().any(|walk| walk.taps > 1);
        let pointwise = is_pointwise(self.shape);
        for cols in [Staging::InPlace, Staging::Copied] {
            for width in self.widths() {
                let kernel = self.kernels.of_panels(width).filter(|_| first && by_tap);
                if cols == Staging::Copied || inside {
                    add(self.panels(width, Padding::Zeros, cols));
                }
                if kernel.is_some_and(|kernel| Inside::is_possible(source, kernel)) {
                    add(self.panels(width, Padding::Skipped, cols));
                }
                if pointwise {
                    add(self.swapped(width, cols));
                }
            }
            if cols == Staging::Copied || inside {
                add(if first { self.dot_rows(cols) } else { self.rows(cols) });
            }
        }
    }

    /// The gradient of the outputs packed in panels.
    pub(super) fn panels(&self, width: usize, padding: Padding, cols: Staging) -> Schedule {
        let schedule = Schedule::implicit(Corner::Channels, cols, Staging::PackedPerBlock);
        Schedule { width, padding, ..Self::of_sums(schedule) }
    }

    /// The image packed in panels.
    pub(super) fn swapped(&self, width: usize, other: Staging) -> Schedule {
        let schedule = Schedule::implicit(Corner::Taps, Staging::PackedPerBlock, other);
        Schedule { width, ..Self::of_sums(schedule) }
    }

    /// Dot products along the pixels, channels first.
    pub(super) fn dot_rows(&self, cols: Staging) -> Schedule {
        let columns = self.kernels.dots.columns;
        let most = columns.len() + columns.last().copied().unwrap_or(1);
        let schedule = Schedule::implicit(Corner::Pixels, cols, Staging::InPlace);
        Schedule { pixels: DOT_ELEMENTS / most, ..Self::of_sums(schedule) }
    }

    /// Lanes are rows of taps as they lie, channels last.
    pub(super) fn rows(&self, cols: Staging) -> Schedule {
        let schedule = Schedule::implicit(Corner::Taps, cols, Staging::InPlace);
        Schedule { taps: TAPS, kept: 0, ..Self::of_sums(schedule) }
    }

    fn of_sums(schedule: Schedule) -> Schedule {
        Schedule {
            pixels: SUMMED_PIXELS,
            kept: usize::MAX,
            taps: ROWS_OF_TAPS,
            touched: SUMMED_TOUCHED,
            parts: PARTS,
            ..schedule
        }
    }

    /// Elements of the image that a block may touch.
    pub(super) fn touched(&self) -> usize {
        super::first::touched(self.kernels.isa)
    }
}
