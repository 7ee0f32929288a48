//! The schedules that are possible for a pass of a layer.

use super::schedule::{Corner, Engine, Padding, Schedule, Staging};
use super::view::View;
use crate::axis::{Phases, phase_count};
use crate::element::Element;
use crate::engine::implicit::classes::Classes;
use crate::engine::implicit::few_pixels::FewPixels;
use crate::engine::implicit::over_pixels::is_pointwise;
use crate::engine::implicit::patches::Patches;
use crate::engine::implicit::regions::Cut;
use crate::error::Error;
use crate::gemm::packed_b::ROWS_OF_BLOCK;
use crate::kernel::stencil::{Channels, MOST_BLOCK};
use crate::kernel::{Isa, Kernels};
use crate::numerics::{DIRECT_TERMS, DOT_PIXELS, PARTS, SUMMED_PIXELS, TAPS};
use crate::options::Accuracy;
use crate::pass::Pass;
use crate::scratch::room;
use crate::shape::{Layout, Shape};
use crate::view::source::Source;
use alloc::vec::Vec;

/// Phases of `backward_data` that have products of their own: each has tables, which a plan holds.
const MOST_PHASES: usize = 64;

/// Phases that a direct convolution may have: each is a stencil.
const MOST_STENCILS: usize = 1024;

/// The most channels that a product in dot products may have, and the fewest of either side that aren't worth a direct
/// convolution: neither could be the fastest beyond them.
const MOST_DOTS: usize = 64;
const MOST_DIRECT: usize = 16;

/// Pixels of a block, which are the rows of its product.
const PIXELS: usize = 1568;

/// Rows of `backward_weight`, whose sums are over the pixels, and elements of the image that its blocks touch.
const ROWS_OF_TAPS: usize = 616;
const SUMMED_TOUCHED: usize = 128 << 10;

/// Elements that the rows and columns of a tile of dot products have in a block: in part they are the same lines.
const DOT_ELEMENTS: usize = 24 << 10;

/// Multiplications that a block of pixels should have, and the blocks of a plane from which on taps give way.
const BLOCK_WORK: usize = 3 << 20;
const PLANE_BLOCKS: usize = 4;

/// Taps of a block of patches that lie apart, and the fewest of these that a block has where there are as many.
const PATCH_TAPS: usize = 256;
const PATCHES: usize = 256;

/// Elements of the image that a block may touch: with a panel of weights it has to stay in the L2 cache. AVX2's may
/// have half a MiB, those of AVX-512 have 1 MiB and more.
const fn touched(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 => MOST_TOUCHED,
        _ => 160 << 10,
    }
}

/// The most that any schedule may ask for.
const MOST_TOUCHED: usize = 240 << 10;

/// Taps that are worth being cut in two: sums of fewer come and go too often.
const fn few_taps(isa: Isa) -> usize {
    match isa {
        Isa::Neon => 256,
        _ => 0,
    }
}

/// Whether no number of a schedule is larger than those of the candidates: bounds of errors, of scratch and of tables
/// rest on them.
pub(crate) fn is_within(schedule: &Schedule, pass: Pass) -> bool {
    let &Schedule { engine, lanes, pixels, kept, taps, touched, parts, cols, .. } = schedule;
    let [most_pixels, most_touched, most_parts] = match pass {
        Pass::Forward | Pass::BackwardData => [PIXELS, MOST_TOUCHED, 0],
        // A lane of a dot product adds up its share of each row of pixels.
        Pass::BackwardWeight if lanes == Corner::Pixels => [DOT_PIXELS, SUMMED_TOUCHED, PARTS],
        Pass::BackwardWeight => [SUMMED_PIXELS, SUMMED_TOUCHED, PARTS],
    };
    let any = touched == 0 && cols == Staging::InPlace && pass != Pass::BackwardWeight;
    let sizes = pixels <= most_pixels && kept <= most_pixels && taps <= TAPS && parts <= most_parts;
    let sized = engine == Engine::Implicit && cols != Staging::Written;
    sizes && if sized { any || (1..=most_touched).contains(&touched) } else { touched == 0 }
}

/// Whether a schedule reads what stands in the padding of this layer. Where that isn't zeros, only what copies a part of the
/// image, or writes cols down as the textbook does, has a place for it.
pub(crate) fn knows_padding(shape: &Shape, schedule: &Schedule) -> bool {
    let &Schedule { engine, cols, padding, .. } = schedule;
    let copies = cols != Staging::Written && padding == Padding::Zeros;
    !shape.is_mirrored() || engine == Engine::Explicit || (engine == Engine::Implicit && copies)
}

/// Whether the image is first written down with its padding for a schedule: where that isn't zeros, and the engine reads the
/// image as it lies. Channels last, windows of padding add less to backward_data than that.
pub(crate) fn writes_padding(shape: &Shape, pass: Pass, schedule: &Schedule) -> bool {
    let last = pass == Pass::BackwardData && shape.layout() == Layout::ChannelsLast;
    shape.is_mirrored() && schedule.engine == Engine::Direct && !last
}

/// How the gradient of a window of the padding is computed beside a pass of `backward_data` with this schedule: as a product
/// that reads the same packed weights where the pass is one; else as the pass is, or if that isn't possible as a product
/// in panels, or as the textbook does it.
pub(crate) fn of_window<T: Element>(
    shape: &Shape,
    inside: &Schedule,
    kernels: &Kernels<T>,
) -> [Schedule; 3] {
    let implicit = inside.engine == Engine::Implicit && inside.cols != Staging::Written;
    let (lanes, width) = match implicit {
        true => (inside.lanes, inside.width),
        false => (Corner::Channels, kernels.tall.lanes),
    };
    let (pixels, taps, touched) = (PIXELS, TAPS, touched(kernels.isa));
    let product = Schedule::implicit(lanes, Staging::Copied, Staging::Packed);
    let product = Schedule { width, pixels, taps, touched, ..product };
    let few_phases = phase_count(shape.axes3()) <= MOST_PHASES;
    let product = if implicit || few_phases { product } else { Schedule::EXPLICIT };
    let first = if inside.engine == Engine::Direct { *inside } else { product };
    [first, product, Schedule::EXPLICIT]
}

/// The schedule that is the cheapest whatever the machine, so that its costs needn't be asked for: where there is one
/// filter for each channel, nothing makes a matrix. Lanes that lie apart, and sums over the pixels of planes, are
/// another matter.
pub(crate) fn certain(shape: &Shape, pass: Pass) -> Option<Schedule> {
    let depthwise = shape.groups() > 1 && shape.group_in() == 1 && shape.group_out() == 1;
    if !depthwise || shape.axes3().iter().any(|axis| axis.stride > 2) {
        return None;
    }
    match (shape.layout(), pass) {
        (Layout::ChannelsFirst, Pass::BackwardWeight) => None,
        (Layout::ChannelsFirst, _) => Some(Schedule::direct(Corner::Pixels, Staging::InPlace, 0)),
        (Layout::ChannelsLast, _) => Some(Schedule::direct(Corner::Channels, Staging::Packed, 0)),
    }
}

/// A pass of a layer, as its candidates are made for it.
pub(crate) struct Question<'a, T: 'static> {
    pub(crate) shape: Shape,
    pub(crate) pass: Pass,
    pub(crate) kernels: &'a Kernels<T>,
    /// Which error bound has to be kept.
    pub(super) accuracy: Accuracy,
    /// The weights will have been packed before the call.
    pub(super) packed: bool,
    /// What the pass reads, phase by phase; none if it has too many of them.
    pub(super) views: Vec<View>,
    /// Channels of a group in the tensor that is made, or in the gradient of the output.
    pub(crate) channels: usize,
}

impl<'a, T: Element> Question<'a, T> {
    pub(crate) fn new(
        shape: &Shape,
        pass: Pass,
        accuracy: Accuracy,
        kernels: &'a Kernels<T>,
    ) -> Result<Self, Error> {
        let mut views;
        let mut channels = shape.group_out();
        if pass != Pass::BackwardData {
            views = room(1)?;
            views.push(View::new(Source::input(shape)));
        } else {
            channels = shape.group_in();
            if phase_count(shape.axes3()) > MOST_PHASES {
                views = Vec::new();
            } else {
                let phases = Phases::new(shape.axes3())?;
                views = room(phases.len())?;
                let walks = phases.iter().map(|phase| phase.map(|axis| axis.walk));
                views.extend(walks.map(|walks| View::new(Source::grad_output(shape, walks))));
            }
        }
        Ok(Self { shape: *shape, pass, kernels, accuracy, packed: false, views, channels })
    }

    /// Fails if a cost was asked for and there was no memory to work it out.
    pub(super) fn checked(&self) -> Result<(), Error> {
        self.views.iter().try_for_each(View::checked)
    }

    /// The same for weights that don't change: those of inference are packed once, before any call.
    pub(crate) fn for_inference(self, inference: bool) -> Self {
        Self { packed: inference, ..self }
    }

    /// Every schedule that is possible as far as sizes tell: an engine may refuse one of them.
    pub(crate) fn candidates(&self) -> Result<Vec<Schedule>, Error> {
        let mut count = 0;
        self.each_candidate(&mut |_| count += 1);
        let mut list = room(count)?;
        self.each_candidate(&mut |schedule| list.push(schedule));
        // Padding is skipped where a cut turns out to save something.
        if self.pass != Pass::BackwardWeight && !self.views.iter().any(|view| self.cut(view) < 1.0)
        {
            list.retain(|schedule| schedule.padding != Padding::Skipped);
        }
        self.checked()?;
        Ok(list)
    }

    /// What is left of a product over taps where those that meet only padding are left out.
    pub(super) fn cut(&self, view: &View) -> f64 {
        view.cut(self.channels, PIXELS, self.kernels.tall.rows)
    }

    /// Gives all of them to `add`, those that share most of their costs one after the other.
    pub(super) fn each_candidate(&self, add: &mut impl FnMut(Schedule)) {
        let add = &mut |schedule| {
            let written = writes_padding(&self.shape, self.pass, &schedule);
            if written || knows_padding(&self.shape, &schedule) {
                add(schedule);
            }
        };
        self.direct(add);
        self.in_points(add);
        match self.pass {
            Pass::Forward | Pass::BackwardData => self.over_taps(add),
            Pass::BackwardWeight => self.over_pixels(add),
        }
        if FewPixels::is_possible(&self.shape, self.pass) {
            add(Self::written());
        }
        if Patches::is_possible(&self.shape, self.pass) {
            add(self.patches());
        }
    }

    /// Whether there is one filter for each channel, channels first, that a direct convolution takes.
    fn is_depthwise(&self) -> bool {
        let shape = &self.shape;
        let one = shape.groups() > 1 && shape.group_in() == 1 && shape.group_out() == 1;
        one && shape.kernel_taps() <= DIRECT_TERMS && shape.layout() == Layout::ChannelsFirst
    }

    /// The widths of panels that there are.
    fn widths(&self) -> impl Iterator<Item = usize> {
        let narrow = self.kernels.narrow.as_ref().map(|kernel| kernel.lanes);
        core::iter::once(self.kernels.tall.lanes).chain(narrow)
    }

    /// cols written down as a matrix.
    const fn written() -> Schedule {
        Schedule::implicit(Corner::Taps, Staging::Written, Staging::InPlace)
    }

    /// A product that is written straight to patches that lie apart.
    fn patches(&self) -> Schedule {
        let lanes = match self.shape.layout() {
            Layout::ChannelsFirst => Corner::Pixels,
            Layout::ChannelsLast => Corner::Taps,
        };
        let taps = PATCH_TAPS;
        let work = taps.min(self.shape.patch_len()).saturating_mul(self.shape.group_out());
        let pixels = (BLOCK_WORK / work).clamp(PATCHES, PIXELS);
        Schedule { pixels, taps, ..Schedule::implicit(lanes, Staging::InPlace, Staging::InPlace) }
    }

    /// Direct convolutions.
    fn direct(&self, add: &mut impl FnMut(Schedule)) {
        let shape = &self.shape;
        let taps = shape.kernel_taps();
        let group = [shape.group_in(), shape.group_out()];
        let modest = shape.batch() / DIRECT_TERMS <= shape.output_pixels();
        let no_phases =
            self.pass == Pass::BackwardData && phase_count(shape.axes3()) > MOST_STENCILS;
        match shape.layout() {
            Layout::ChannelsFirst => {
                if shape.groups() > 1
                    && group[0] == 1
                    && taps <= DIRECT_TERMS
                    && modest
                    && !no_phases
                {
                    add(Schedule::direct(Corner::Pixels, Staging::InPlace, 0));
                }
                let summed = self.pass == Pass::BackwardWeight;
                let alternate = self.pass == Pass::BackwardData && shape.axes3()[2].stride > 2;
                let few = group[0].min(group[1]) <= MOST_DIRECT && taps <= DIRECT_TERMS;
                if !summed && !alternate && few && !no_phases {
                    for block in 1..=MOST_BLOCK.min(self.channels) {
                        add(Schedule::direct(Corner::Pixels, Staging::Packed, block));
                    }
                }
            }
            Layout::ChannelsLast => {
                let few = Channels::fit(group, self.kernels.stencils.lanes);
                let blocked = taps.saturating_mul(group[0].max(group[1])) <= DIRECT_TERMS && modest;
                if shape.groups() > 1 && few && blocked && !no_phases {
                    add(Schedule::direct(Corner::Channels, Staging::Packed, 0));
                }
            }
        }
    }

    /// Products of forward and backward_data.
    fn over_taps(&self, add: &mut impl FnMut(Schedule)) {
        let Some(first) = self.views.first() else { return };
        let inside = self.views.iter().any(|view| view.inside);
        let padded = self.views.iter().any(|view| Cut::is_worth(view.least));
        let pixels = first.source.pixel_sizes().into_iter().fold(1, usize::saturating_mul);
        // Panels of one channel each, of a sum over a few taps, are all but empty.
        let widths = self.widths().filter(|_| !self.is_depthwise());
        for width in widths {
            for padding in [Padding::Zeros, Padding::Skipped] {
                if padding == Padding::Skipped && !padded {
                    continue;
                }
                for cols in [Staging::InPlace, Staging::Copied] {
                    if cols == Staging::InPlace && padding == Padding::Zeros && !inside {
                        continue;
                    }
                    for other in [Staging::Packed, Staging::PackedPerBlock] {
                        let alone = self.views.len() == 1 && pixels <= PIXELS;
                        if other == Staging::Packed || alone {
                            add(self.channels(width, padding, cols, other));
                        }
                    }
                }
            }
        }
        let stagings = [Staging::InPlace, Staging::Copied];
        let beside = self.views.iter().all(|view| view.side_by_side);
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
    fn channels(&self, width: usize, padding: Padding, cols: Staging, other: Staging) -> Schedule {
        let (pixels, taps, touched) = (PIXELS, TAPS, self.touched());
        let schedule = Schedule::implicit(Corner::Channels, cols, other);
        Schedule { width, padding, pixels, taps, touched, ..schedule }
    }

    /// Lanes are pixels: those of a plane, or fewer of them where one C block has all channels.
    fn pixels(&self, cols: Staging) -> Schedule {
        let Some(View { source, .. }) = self.views.first() else { return Schedule::EXPLICIT };
        let [batch, planes, h, w] = source.pixel_sizes();
        let terms = source.tap_sizes().into_iter().fold(1, usize::saturating_mul);
        let rows = self.kernels.wide.rows;
        let shallow = self.channels <= 2 * rows;
        let work = terms.saturating_mul(self.channels);
        let enough = (BLOCK_WORK / work).max(1).next_multiple_of(256);
        // Blocks of a plane from which on taps give way, not pixels: larger ones copy fewer rows twice, and read their
        // weights less often. Where one block has all channels, no other copies the same again for each run of taps.
        let others = batch.saturating_mul(planes).saturating_mul(self.shape.groups());
        let kept = match shallow {
            true => PIXELS,
            false if self.channels < ROWS_OF_BLOCK && terms >= few_taps(self.kernels.isa) => {
                w * h.div_ceil(PLANE_BLOCKS.div_ceil(others))
            }
            false => 0,
        };
        // Each element is read by one tile only, or by two from afar: it matters little how many a block touches.
        let tiles = self.channels.div_ceil(rows);
        let once = tiles == 1 || (tiles == 2 && source.is_far());
        let other = match self.pass {
            Pass::BackwardData => Staging::Packed,
            Pass::Forward | Pass::BackwardWeight => Staging::InPlace,
        };
        let in_place = cols == Staging::InPlace;
        Schedule {
            pixels: if shallow { enough.min(h * w) } else { h * w }.min(PIXELS),
            kept: kept.min(PIXELS),
            taps: TAPS,
            touched: if once && in_place { 0 } else { self.touched() },
            ..Schedule::implicit(Corner::Pixels, cols, other)
        }
    }

    /// Lanes are taps, which lie side by side.
    fn dots(&self, cols: Staging) -> Schedule {
        let (pixels, taps, touched) = (PIXELS, TAPS, self.touched());
        let other = match self.pass {
            Pass::BackwardData => Staging::Packed,
            Pass::Forward | Pass::BackwardWeight => Staging::InPlace,
        };
        Schedule { pixels, taps, touched, ..Schedule::implicit(Corner::Taps, cols, other) }
    }

    /// Products of backward_weight.
    fn over_pixels(&self, add: &mut impl FnMut(Schedule)) {
        let Some(&View { ref source, inside, .. }) = self.views.first() else { return };
        let stagings = || [Staging::InPlace, Staging::Copied].into_iter();
        let possible = || stagings().filter(|&cols| cols == Staging::Copied || inside);
        let first = self.shape.layout() == Layout::ChannelsFirst;
        let by_tap = source.walks.iter().any(|walk| walk.taps > 1);
        let pointwise = is_pointwise(&self.shape);
        for width in self.widths().filter(|_| !self.is_depthwise()) {
            possible().for_each(|cols| add(self.panels(width, Padding::Zeros, cols)));
            let kernel = self.kernels.of_panels(width).filter(|_| first && by_tap);
            if kernel.is_some_and(|kernel| Classes::is_possible(source, kernel)) {
                stagings().for_each(|cols| add(self.panels(width, Padding::Skipped, cols)));
            }
            if pointwise {
                stagings().for_each(|cols| add(self.swapped(width, cols)));
            }
        }
        for cols in possible() {
            add(if first { self.dot_rows(cols) } else { self.rows(cols) });
        }
    }

    /// The gradient of the outputs packed in panels.
    fn panels(&self, width: usize, padding: Padding, cols: Staging) -> Schedule {
        let schedule = Schedule::implicit(Corner::Channels, cols, Staging::PackedPerBlock);
        Schedule { width, padding, ..Self::of_sums(schedule) }
    }

    /// The image packed in panels.
    fn swapped(&self, width: usize, other: Staging) -> Schedule {
        let schedule = Schedule::implicit(Corner::Taps, Staging::PackedPerBlock, other);
        Schedule { width, ..Self::of_sums(schedule) }
    }

    /// Dot products along the pixels, channels first.
    fn dot_rows(&self, cols: Staging) -> Schedule {
        let columns = self.kernels.dots.columns;
        let most = columns.len() + columns.last().copied().unwrap_or(1);
        let schedule = Schedule::implicit(Corner::Pixels, cols, Staging::InPlace);
        Schedule { pixels: (DOT_ELEMENTS / most).min(DOT_PIXELS), ..Self::of_sums(schedule) }
    }

    /// Lanes are rows of taps as they lie, channels last.
    fn rows(&self, cols: Staging) -> Schedule {
        let schedule = Schedule::implicit(Corner::Taps, cols, Staging::InPlace);
        Schedule { taps: TAPS, kept: 0, ..Self::of_sums(schedule) }
    }

    fn of_sums(schedule: Schedule) -> Schedule {
        Schedule {
            pixels: SUMMED_PIXELS,
            kept: SUMMED_PIXELS,
            taps: ROWS_OF_TAPS,
            touched: SUMMED_TOUCHED,
            parts: PARTS,
            ..schedule
        }
    }

    /// Elements of the image that a block may touch.
    fn touched(&self) -> usize {
        touched(self.kernels.isa)
    }
}
