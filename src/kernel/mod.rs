//! The microkernels: the loops that a processor spends its time in, one file per ISA.
//!
//! A kernel multiplies one tile: some rows of a, each element broadcast, with some vectors of b.
//! Both operands are read where they lie, through tables of steps. `body` holds the loops, written
//! once over [`Vector`](vector::Vector); an ISA's file gives the vector and the tile shapes.
//! Nothing here knows what is multiplied.

pub(crate) mod asked;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod body;
pub(crate) mod cpu;
mod epilogue;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon;
mod portable;
mod reach;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;
pub(crate) mod stencil;
#[cfg(feature = "testing")]
pub(crate) mod tests;
pub(crate) mod uninit;
mod vector;
pub(crate) mod winograd;

use crate::element::{Element, ForElement};
use crate::numerics::KC;
use core::fmt;
use core::ops::Range;

pub(crate) use epilogue::{Epilogue, Residual, Side};
pub(crate) use reach::{are_consecutive, even_pitch, reach, total};
pub(crate) use vector::MAX_LANES;

/// A family of kernels, named after the instruction set it needs.
///
/// In the order of preference: `Ord` says which is the higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// What the compiler makes of plain loops, on any machine.
    Portable,
    /// wasm32 with simd128, and with its relaxed instructions if they are compiled for.
    Simd128,
    /// aarch64 with NEON, which all of them have.
    Neon,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512F.
    Avx512,
}

impl Isa {
    /// Every ISA, the lowest first.
    pub const ALL: &'static [Isa] =
        &[Isa::Portable, Isa::Simd128, Isa::Neon, Isa::Avx2, Isa::Avx512];

    /// The name that `IM2COL_ISA` takes.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Simd128 => "wasm-simd128",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        kernels_of::<f32>(self).is_some()
    }

    /// The highest ISA of this machine, lowered by the environment variable `IM2COL_ISA` (a
    /// [`name`](Self::name); feature `std`), which is read once. An unknown name, or one that the machine lacks,
    /// changes nothing; [`explain`](crate::Plan::explain) says so.
    pub fn best() -> Isa {
        let machine = Isa::ALL.iter().copied().rev().find(|isa| isa.is_available());
        let machine = machine.unwrap_or(Isa::Portable);
        match asked::asked().map(str::parse::<Isa>) {
            Some(Ok(isa)) if isa < machine && isa.is_available() => isa,
            _ => machine,
        }
    }
}

/// Why a text is no ISA's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no ISA of this name: they are portable, wasm-simd128, neon, avx2 and avx512")]
pub struct ParseIsaError;

/// The reverse of [`Display`](fmt::Display) and [`Isa::name`].
impl core::str::FromStr for Isa {
    type Err = ParseIsaError;

    fn from_str(name: &str) -> Result<Self, ParseIsaError> {
        Isa::ALL.iter().copied().find(|isa| isa.name() == name).ok_or(ParseIsaError)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kernels of one ISA for one element type. A value is the proof that the machine has the
/// ISA: only the ISA's file makes one, after it has asked the processor.
#[derive(Debug)]
pub(crate) struct Kernels<T: 'static> {
    pub(crate) isa: Isa,
    /// Many rows, few vectors: for panels packed as narrow as a vector.
    pub(crate) tall: Kernel<T>,
    /// As tall, for panels of one vector, where those of `tall` have more; and for what fills no more of their last
    /// one.
    pub(crate) narrow: Option<Kernel<T>>,
    /// Few rows, several vectors: for lanes that lie side by side in memory.
    pub(crate) wide: Kernel<T>,
    /// For operands whose k lies side by side in memory.
    pub(crate) dots: Dots<T>,
    /// Copies rows with zeros round them.
    pub(crate) copy: unsafe fn(&CopyRows<T>),
    /// Transforms a tile of a plane into points and back.
    pub(crate) transform: unsafe fn(&winograd::Transform<'_, T>),
    /// For layers with one filter per channel, and groups of a few.
    pub(crate) stencils: stencil::Stencils<T>,
    _proof: Proof,
}

impl<T> Kernels<T> {
    /// Itself; doesn't compile if a kernel's sizes don't [agree](Kernel::check).
    const fn checked(self) -> Self {
        self.tall.check();
        self.wide.check();
        if let Some(narrow) = &self.narrow {
            narrow.check();
            assert!(self.tall.lanes <= 2 * narrow.lanes);
        }
        assert!(self.dots.columns.len() <= DOTS);
        self
    }

    /// The kernel whose panels have so many lanes, if there is one.
    pub(crate) fn of_panels(&self, lanes: usize) -> Option<&Kernel<T>> {
        let mut kernels = self.narrow.iter().chain([&self.tall]);
        kernels.find(|kernel| kernel.lanes == lanes)
    }

    /// Which lanes of a block a tall kernel multiplies itself, and which the narrow one does: those of a last panel
    /// that has no more than fill a panel of its own.
    pub(crate) fn shared<'a>(
        &'a self,
        kernel: &'a Kernel<T>,
        lanes: usize,
    ) -> [(&'a Kernel<T>, Range<usize>); 2] {
        let rest = lanes % kernel.lanes;
        match &self.narrow {
            Some(narrow) if narrow.lanes < kernel.lanes && (1..=narrow.lanes).contains(&rest) => {
                [(kernel, 0..lanes - rest), (narrow, lanes - rest..lanes)]
            }
            _ => [(kernel, 0..lanes), (kernel, lanes..lanes)],
        }
    }
}

/// What only this module and those within it can write down: so nothing outside makes a table of kernels, and having
/// one proves what its ISA's file says of it.
#[derive(Debug, Clone, Copy)]
struct Proof;

impl<T> Kernel<T> {
    /// Whether its sizes agree with each other and with what there is room for; else the table doesn't compile.
    const fn check(&self) {
        assert!(self.rows > 0 && self.row_step > 0 && self.rows.is_multiple_of(self.row_step));
        assert!(self.vector > 0 && self.vector <= MAX_LANES);
        assert!(self.block > 0 && self.block <= KC);
        assert!(self.lanes.is_multiple_of(self.vector) && self.lanes / self.vector <= MAX_VECTORS);
        assert!(self.rows * self.lanes <= MAX_TILE);
        let mut index = 0;
        while index < self.neighbours.len() {
            let [len, most] = self.neighbours[index];
            assert!(len > 0 && most.is_multiple_of(len) && most <= self.rows);
            index += 1;
        }
    }
}

/// One tile shape and the functions that work on it.
#[derive(Debug)]
pub(crate) struct Kernel<T: 'static> {
    /// Rows of the largest tile.
    pub(crate) rows: usize,
    /// Smaller tiles have a multiple of this many rows.
    pub(crate) row_step: usize,
    /// How many [neighbouring rows](Multiply::neighbours) there are tiles for, the best first, and the rows of the
    /// largest.
    pub(crate) neighbours: &'static [[usize; 2]],
    /// Tiles are faster where [terms come in fours](Multiply::fours_a).
    pub(crate) fours: bool,
    /// Lanes of the widest tile: the width of a panel.
    pub(crate) lanes: usize,
    /// Lanes of a vector; narrower tiles have a multiple of it.
    pub(crate) vector: usize,
    /// Terms that a tile adds up in one go: so many that its sums' coming and going don't count, if the
    /// part of b that tile after tile meets leaves room in the L1 cache for what they read of a.
    pub(crate) block: usize,
    /// Sums a tile.
    pub(crate) multiply: unsafe fn(&Multiply<T>),
    /// Packs a panel by transposing.
    pub(crate) pack: unsafe fn(&Pack<T>),
    /// Writes a tile to its place.
    pub(crate) store: unsafe fn(&Store<'_, T>),
    /// For kernels that are so much the faster with panels copied that it pays for some tiles.
    pub(crate) packed_b: Option<PackedB<T>>,
    /// Sums tiles side by side, each in its place.
    pub(crate) stream: Option<unsafe fn(&Stream<'_, T>)>,
    _proof: Proof,
}

/// What a kernel has that wants its panels copied: it also sums tiles in place, of exactly the rows
/// wanted, at any [`tile_pitch`](Multiply::tile_pitch).
#[derive(Debug)]
pub(crate) struct PackedB<T: 'static> {
    /// Copies the lanes of a panel side by side.
    pub(crate) pack_b: unsafe fn(&PackB<T>),
    /// All of this only where the k of a lies side by side: [`beside_a`](Multiply::beside_a).
    pub(crate) by_lane: bool,
    /// Rows of the largest tile that is one vector wide, if [`packed_b`](Multiply::packed_b).
    pub(crate) rows_of_one: usize,
    /// Tiles of rows from which on copying a panel pays: of a small k, and of a larger one.
    pub(crate) fewest: [usize; 2],
    _proof: Proof,
}

/// A tile of dot products: its largest sizes, and the function that sums it.
#[derive(Debug)]
pub(crate) struct Dots<T: 'static> {
    /// Columns of the largest tile of one row, of two, and so on: at most [`DOTS`], and no more of more rows.
    pub(crate) columns: &'static [usize],
    pub(crate) sum: unsafe fn(&Dot<T>),
    _proof: Proof,
}

/// The most rows, and columns, of any tile of dot products; elements between the rows of its sums.
pub(crate) const DOTS: usize = 6;

/// `sums[r * DOTS + c] = Σ rows[r][steps_a[s] + i] * columns[c][steps_b[s] + i]`, over all steps
/// `s` and `i < len`.
///
/// The function that takes it asks of its caller (beside the ISA, which the kernel proves): both
/// `rows` and `columns` point at [`DOTS`] pointers each, all of them good for `len` elements at every
/// step; both tables have `steps` entries; `sums` has room for `DOTS * DOTS` elements.
pub(crate) struct Dot<T> {
    /// Rows and columns wanted; those past them are summed or not, as the kernel likes.
    pub(crate) row_count: usize,
    pub(crate) col_count: usize,
    pub(crate) rows: *const *const T,
    pub(crate) columns: *const *const T,
    pub(crate) steps_a: *const u32,
    pub(crate) steps_b: *const u32,
    pub(crate) steps: usize,
    pub(crate) len: usize,
    pub(crate) sums: *mut T,
}

/// `tile[r][lane] = Σ a[rows[r] + steps_a[t]] * b[steps_b[t] + lane]`, for `t < k`.
///
/// The function that takes it asks of its caller (beside the ISA, which the kernel proves):
/// `rows` has `count > 0` entries, and `a` is good at each of them plus every step of a; `b` is good
/// for `vectors` vectors at every step of b; both tables have `k` entries; nothing else refers to the vectors of the
/// tile's rows, which are `tile_pitch` elements apart and initialised if `accumulate`: `count` of them, or the next
/// multiple of the kernel's `row_step` (if the kernel packs b of such a product, or rows have neighbours, just
/// `count`).
pub(crate) struct Multiply<T> {
    /// Rows wanted; those past them that complete a step are computed or not, as the kernel likes.
    pub(crate) count: usize,
    /// Vectors wanted: the lanes of the tile, and of b at every step. A tall kernel has one panel
    /// width only.
    pub(crate) vectors: usize,
    pub(crate) a: *const T,
    pub(crate) rows: *const u32,
    /// So many rows lie side by side, then as many others, such as the taps of a row of a filter: 1, or as many as the
    /// kernel has tiles for, of which `count` is a multiple.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "read by AVX-512's alone"))]
    pub(crate) neighbours: usize,
    pub(crate) steps_a: *const u32,
    /// Each step of a is one more than the one before it.
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code, reason = "read by NEON's alone"))]
    pub(crate) beside_a: bool,
    /// Each four steps of a, from the first on, follow each other; those left after the last four may be any.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "read by AVX-512's alone"))]
    pub(crate) fours_a: bool,
    pub(crate) b: *const T,
    pub(crate) steps_b: *const u32,
    /// Each step of b is `vectors` vectors more than the one before it, and the first is 0,
    /// whatever the table says; only if the kernel packs b of such a product.
    #[cfg_attr(
        not(any(target_arch = "aarch64", target_arch = "x86_64")),
        allow(dead_code, reason = "read by kernels that gather")
    )]
    pub(crate) packed_b: bool,
    pub(crate) k: usize,
    pub(crate) tile: *mut T,
    /// Elements between rows of the tile, no fewer than `vectors` vectors have.
    pub(crate) tile_pitch: usize,
    /// Add to the tile rather than overwrite it.
    pub(crate) accumulate: bool,
    /// Where the finished tile will be written, so that its lines are on their way.
    pub(crate) prefetch: *const T,
    pub(crate) prefetch_pitch: usize,
    pub(crate) prefetch_lines: usize,
    /// What a later tile reads, as many elements of it to each product: it is fetched meanwhile, good or not. 0 elements are
    /// none.
    pub(crate) ahead: *const T,
    pub(crate) ahead_step: usize,
}

impl<T> Multiply<T> {
    /// No rows, no vectors, nothing to fetch: what a product fills in.
    pub(crate) const IDLE: Self = Self {
        count: 0,
        vectors: 0,
        a: core::ptr::null(),
        rows: core::ptr::null(),
        neighbours: 1,
        steps_a: core::ptr::null(),
        beside_a: false,
        fours_a: false,
        b: core::ptr::null(),
        steps_b: core::ptr::null(),
        packed_b: false,
        k: 0,
        tile: core::ptr::null_mut(),
        tile_pitch: 0,
        accumulate: false,
        prefetch: core::ptr::null(),
        prefetch_pitch: 0,
        prefetch_lines: 0,
        ahead: core::ptr::null(),
        ahead_step: 0,
    };
}

/// `to[r * to_pitch + lane] = Σ a[rows[r] + steps_a[t]] * b[steps_b[t] + lane]`, for `t < k` and all lanes of
/// `panels` panels side by side, stored as the epilogue says, whose bias is of the rows.
///
/// Asked of the caller: `rows` has `count` entries, no more than the kernel's rows, and so has the bias if there is
/// one; `a` is good at each of them plus every step of a; `b` is good for the panels at every step of b;
/// both tables have `k` entries; so many lanes of each of `count` rows of `to` are ours, of the residual's
/// destination, initialised if the epilogue accumulates, and nothing else refers to them.
pub(crate) struct Stream<'a, T> {
    pub(crate) count: usize,
    pub(crate) panels: usize,
    pub(crate) a: *const T,
    pub(crate) rows: *const u32,
    pub(crate) steps_a: *const u32,
    pub(crate) b: *const T,
    pub(crate) steps_b: *const u32,
    pub(crate) k: usize,
    pub(crate) to: *mut T,
    pub(crate) to_pitch: usize,
    pub(crate) epilogue: Epilogue<'a, T>,
}

/// `to[t * vectors + lane] = from[steps[t] + lane]`, where `vectors` are as many elements.
///
/// Asked of the caller: `from` is good for `vectors` vectors at each of `k` steps, and `to`
/// has room for them all, to which nothing else refers.
#[cfg_attr(
    not(any(target_arch = "aarch64", target_arch = "x86_64")),
    allow(dead_code, reason = "read by kernels that gather")
)]
pub(crate) struct PackB<T> {
    pub(crate) from: *const T,
    pub(crate) steps: *const u32,
    pub(crate) k: usize,
    pub(crate) vectors: usize,
    pub(crate) to: *mut T,
}

/// `to[block * to_block + col * step + lane] = from[block * block_pitch + lane * column_pitch + col]`,
/// zeros for lanes past `lanes`.
///
/// Asked of the caller: every such element of `from` is initialised; the kernel's `lanes` elements
/// at every such place of `to` are ours, and nothing else refers to them.
pub(crate) struct Pack<T> {
    pub(crate) from: *const T,
    pub(crate) blocks: usize,
    pub(crate) block_pitch: usize,
    pub(crate) lanes: usize,
    pub(crate) column_pitch: usize,
    pub(crate) cols: usize,
    /// Lanes of the panel: whole vectors, no more than 4.
    pub(crate) width: usize,
    pub(crate) to: *mut T,
    pub(crate) to_block: isize,
    pub(crate) step: isize,
}

/// `c[row_offsets[r] + lane * lane_stride] = tile[r][lane]`, stored as the epilogue says; sums have their bias already.
///
/// Asked of the caller: every such element of `c`, for `rows` and `lanes` of the tile, is of the residual's destination
/// and initialised if the epilogue accumulates, and nothing else refers to it; no two are the same;
/// `row_offsets` has `rows` entries, in ascending order.
pub(crate) struct Store<'a, T> {
    pub(crate) tile: *const T,
    pub(crate) tile_pitch: usize,
    pub(crate) rows: usize,
    pub(crate) lanes: usize,
    pub(crate) c: *mut T,
    pub(crate) row_offsets: *const u32,
    pub(crate) lane_stride: usize,
    pub(crate) epilogue: &'a Epilogue<'a, T>,
}

/// `to[r * to_pitch + before + i] = from[r * from_pitch + i * step]` for `r < count` and
/// `i < taken`, zeros before and after, `len` elements of each row in all.
///
/// Asked of the caller: every such element of `from` is initialised; the `len` elements of each
/// row of `to` are ours, and nothing else refers to them; `before + taken <= len`.
pub(crate) struct CopyRows<T> {
    pub(crate) from: *const T,
    pub(crate) from_pitch: usize,
    pub(crate) to: *mut T,
    pub(crate) to_pitch: usize,
    pub(crate) count: usize,
    pub(crate) before: usize,
    pub(crate) taken: usize,
    pub(crate) len: usize,
    pub(crate) step: usize,
    /// From an element to the one that is copied after all of these, or 0: its line may be fetched, and need
    /// not be there.
    pub(crate) next: usize,
}

/// The kernels of an ISA, if this machine has it.
struct OfIsa(Isa);

impl ForElement for OfIsa {
    type Value<T: 'static> = Option<&'static Kernels<T>>;

    fn f32(self) -> Option<&'static Kernels<f32>> {
        match self.0 {
            Isa::Portable => Some(&portable::F32),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Isa::Simd128 => simd128::detected().then_some(&simd128::F32),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Isa::Neon => neon::detected().then_some(&neon::F32),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::detected().then_some(&avx2::F32),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::detected().then(avx512::f32),
            // Those of other machines.
            _ => None,
        }
    }

    fn f64(self) -> Option<&'static Kernels<f64>> {
        match self.0 {
            Isa::Portable => Some(&portable::F64),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Isa::Simd128 => simd128::detected().then_some(&simd128::F64),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Isa::Neon => neon::detected().then_some(&neon::F64),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::detected().then_some(&avx2::F64),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::detected().then(avx512::f64),
            // Those of other machines.
            _ => None,
        }
    }
}

/// The kernels of `isa`, if this machine has it.
pub(crate) fn kernels_of<T: Element>(isa: Isa) -> Option<&'static Kernels<T>> {
    T::choose(OfIsa(isa))
}

/// The most vectors of any panel.
pub(crate) const MAX_VECTORS: usize = 4;

/// The tile buffer of any kernel: rows times lanes of the largest.
pub(crate) const MAX_TILE: usize = 28 * MAX_LANES;

/// The kernels of `isa`, which the caller has asked for by [`Isa::is_available`] or
/// [`Isa::best`]; the portable ones otherwise.
pub(crate) fn kernels<T: Element>(isa: Isa) -> &'static Kernels<T> {
    kernels_of(isa).or_else(|| kernels_of(Isa::Portable)).expect("every machine is portable")
}
