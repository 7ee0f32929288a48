//! What a kernel asks of a SIMD register: the instruction set of the loops in `body`.

use crate::element::Element;
use core::mem::MaybeUninit;
use core::ops::Range;

/// The most lanes of any vector: f32 under AVX-512. All that has room for a vector's lanes is as large as this, or a multiple.
pub(crate) const MAX_LANES: usize = 16;

/// The bytes of a value at any address.
#[repr(C, packed)]
struct Unaligned<V>(MaybeUninit<V>);

/// What lies at `p`, of any alignment.
///
/// `*p`, `read_unaligned` and the loads of `core::arch` do the same, but where debug assertions are on they look at the
/// address each time, and a vector goes through the stack. Here there is nothing to check: a user's debug build runs these
/// loops as fast as a release build.
///
/// # Safety
/// `p` is good for as many bytes as a `V` has, which are a `V`.
#[inline(always)]
#[allow(
    clippy::transmute_ptr_to_ref,
    reason = "a dereference is checked where debug assertions are on"
)]
pub(super) unsafe fn read<T, V: Copy>(p: *const T) -> V {
    // SAFETY: the caller promises the bytes; this reference needs no alignment, and ends here.
    unsafe { core::mem::transmute::<*const T, &Unaligned<V>>(p).0.assume_init() }
}

/// Writes to `p`, of any alignment; as [`read`], without checks.
///
/// # Safety
/// `p` is good for as many bytes as a `V` has, and nothing else refers to them.
#[inline(always)]
#[allow(
    clippy::transmute_ptr_to_ref,
    reason = "a dereference is checked where debug assertions are on"
)]
pub(super) unsafe fn write<T, V: Copy>(p: *mut T, value: V) {
    // SAFETY: the caller promises the bytes, which need not be initialised; this reference needs no alignment, and ends here.
    unsafe { core::mem::transmute::<*mut T, &mut Unaligned<V>>(p).0 = MaybeUninit::new(value) }
}

/// Lanes `low..high` of elements `step` apart.
#[derive(Clone, Copy)]
pub(crate) struct Between {
    pub(crate) step: usize,
    pub(crate) low: usize,
    pub(crate) high: usize,
}

impl Between {
    /// [`Vector::load_masked`] for machines without masks: an element at a time.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub(super) unsafe fn load<V: Vector>(self, p: *const V::Element) -> V {
        const { V::FITS };
        let mut lanes = [V::Element::ZERO; MAX_LANES];
        for lane in self.low..self.high {
            // SAFETY: the caller vouches for these lanes.
            lanes[lane] = unsafe { *p.wrapping_add(lane * self.step) };
        }
        // SAFETY: no vector has more than `MAX_LANES` lanes.
        unsafe { V::load(lanes.as_ptr()) }
    }
}

/// Lanes of a load, for machines that have no masks but put together a register of any bytes of others:
/// whole vectors are read wherever in the row there is room for them. `B` is such a register.
#[allow(dead_code, reason = "read by ISAs that permute bytes")]
#[derive(Clone, Copy)]
pub(crate) struct Lanes<B> {
    /// The first element that is read, from that of lane 0: `LANES` times the step are.
    pub(super) first: isize,
    /// Which byte of what is read each byte is; past all, a zero.
    pub(super) bytes: B,
    pub(super) between: Between,
}

#[allow(dead_code, reason = "read by ISAs that permute bytes")]
impl<B> Lanes<B> {
    /// The mask of `V` for these lanes of a row; `register` holds 16 bytes.
    #[inline(always)]
    pub(super) fn new<V: Vector>(
        between: Between,
        row: Range<isize>,
        register: impl FnOnce([u8; 16]) -> B,
    ) -> Self {
        let Between { step, low, high } = between;
        let read = V::LANES.wrapping_mul(step) as isize;
        // Otherwise what is read would leave the row.
        assert!(step > 2 || low >= high || row.end - row.start >= read);
        let first = row.start.max(0).min(row.end.wrapping_sub(read));
        let size = size_of::<V::Element>() as u8;
        let apart = size.wrapping_mul(step as u8).wrapping_sub(size);
        let before = size.wrapping_mul(first as u8);
        let mut bytes = [0; 16];
        // Without a branch, this is a few instructions for vectors of bytes.
        for (i, byte) in (0..).zip(&mut bytes) {
            let lane = i / size;
            let inside = u8::from(lane >= low as u8) & u8::from(lane < high as u8);
            let read = lane.wrapping_mul(apart).wrapping_add(i).wrapping_sub(before);
            *byte = read | inside.wrapping_sub(1);
        }
        Self { first, bytes: register(bytes), between }
    }
}

/// [`Places`](Vector::Places) of 16 bytes: those of the lanes of `V`.
#[allow(dead_code, reason = "read by ISAs that permute bytes")]
#[inline(always)]
pub(super) fn bytes_of<V: Vector>(lanes: [u8; MAX_LANES]) -> [u8; 16] {
    const { assert!(V::LANES * size_of::<V::Element>() == 16) };
    let size = size_of::<V::Element>();
    let mut bytes = [0; 16];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = lanes[i / size].wrapping_mul(size as u8).wrapping_add((i % size) as u8);
    }
    bytes
}

/// `M` vectors from `first` on, zeros after the last of them.
///
/// # Safety
/// The caller runs with the features.
#[allow(dead_code, reason = "for ISAs that add up several vectors at once")]
#[inline(always)]
pub(super) unsafe fn part<V: Vector, const N: usize, const M: usize>(
    vectors: &[V; N],
    first: usize,
) -> [V; M] {
    // SAFETY: the caller runs with the features.
    let mut some = unsafe { [V::splat(V::Element::ZERO); M] };
    for i in 0..M {
        if first + i < N {
            some[i] = vectors[first + i];
        }
    }
    some
}

/// Work with vectors that gets a function of its own: see [`Vector::outlined`].
pub(crate) trait Task {
    /// Does it. Marked `inline(always)`, so that it has the features of the function round it.
    ///
    /// # Safety
    /// The caller runs with the target features of the task's vector; and what the task says.
    unsafe fn run(self);
}

/// A register of `LANES` elements.
///
/// # Safety
/// An implementation does what its methods say, and touches no memory but what they name. All
/// methods share one contract: the caller runs with the target features that the implementation
/// needs, and pointers are good for the elements named.
pub(crate) unsafe trait Vector: Copy {
    /// `f32` or `f64`.
    type Element: Element;

    /// Elements in a register.
    const LANES: usize;

    /// Fails to compile for a vector that has more lanes than there is room for; named wherever there is such room.
    const FITS: () = assert!(Self::LANES.is_power_of_two() && Self::LANES <= MAX_LANES);

    /// Registers of the machine.
    const REGISTERS: usize = 16;

    /// Whether the rows of a tile of two vectors share pointers where they lie evenly apart, not only where they lie side by
    /// side: the compiler may load an element of every row first, and spill.
    const SHARES_POINTERS: bool = true;
    /// Whether a round of a product's loop has two terms.
    const PAIRED: bool = false;

    /// Only the direct convolutions that networks use most, beside those of any shape. For vectors that no processor of our
    /// days is short of better ones for: all forms would be a fifth of the library's code.
    const FEW_FORMS: bool = false;

    /// Whether [`permute_within`](Self::permute_within) is faster than [`permute`](Self::permute).
    const WITHIN: bool = false;

    /// Lanes to be loaded.
    type Mask: Copy;

    /// The elements that a row has to have for a [mask](Self::mask), times the step if that is 2.
    const ROW: usize = 0;

    /// What masks shorter rows.
    type Narrow: Vector<Element = Self::Element>;

    /// Which lane each lane becomes, as the machine wants them named.
    type Places: Copy;

    /// `x` in every lane.
    unsafe fn splat(x: Self::Element) -> Self;
    /// Reads `LANES` elements at `p`, of any alignment.
    unsafe fn load(p: *const Self::Element) -> Self;
    /// Writes `LANES` elements at `p`, of any alignment.
    unsafe fn store(self, p: *mut Self::Element);
    /// Reads the first `n <= LANES` elements at `p` and nothing else; the other lanes are 0.
    unsafe fn load_first(p: *const Self::Element, n: usize) -> Self;
    /// Some lanes of a load, as the machine wants them named: elements of a `row`, numbered from that
    /// of lane 0, which need not be one. If there are any, and the step is 1 or 2, the row has as many
    /// elements as [`ROW`](Self::ROW) says.
    unsafe fn mask(between: Between, row: Range<isize>) -> Self::Mask;
    /// Reads the lanes of `mask`, elements `step` apart at `p`, and nothing else but perhaps elements of
    /// its row; the other lanes are 0. `p` itself need not be good. `STEP` is the mask's step if that is
    /// 1 or 2, else 0.
    unsafe fn load_masked<const STEP: usize>(p: *const Self::Element, mask: Self::Mask) -> Self;
    /// Writes the first `n <= LANES` elements at `p` and nothing else.
    unsafe fn store_first(self, p: *mut Self::Element, n: usize);
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self * b + c`, rounded once where the machine can.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
    /// `self` kept between `low` and `high`; NaN stays NaN.
    unsafe fn clamp(self, low: Self, high: Self) -> Self;
    /// Transposes: reads `width <= LANES` elements at each of `LANES` places `row` and writes
    /// `width` rows of `LANES` elements, row `i` at `to + i * step`.
    unsafe fn transpose(
        row: impl Fn(usize) -> *const Self::Element,
        width: usize,
        to: *mut Self::Element,
        step: isize,
    );
    /// Places of lanes, each below `LANES`.
    unsafe fn places(lanes: [u8; MAX_LANES]) -> Self::Places;
    /// Lane `i` becomes the one that the `i`-th of these places names.
    unsafe fn permute(self, places: Self::Places) -> Self;
    /// The same for lanes that stay within 16 bytes.
    #[inline(always)]
    unsafe fn permute_within(self, places: Self::Places) -> Self {
        // SAFETY: as the caller says.
        unsafe { self.permute(places) }
    }
    /// `[a0, b0, a1, b1, ..]` of `a` and `b`, in two registers.
    #[inline(always)]
    unsafe fn interleave(self, other: Self) -> [Self; 2] {
        const { Self::FITS };
        let mut lanes = [Self::Element::ZERO; 2 * MAX_LANES];
        let mut both = [Self::Element::ZERO; 2 * MAX_LANES];
        // SAFETY: no vector has more than `MAX_LANES` lanes.
        unsafe {
            self.store(lanes.as_mut_ptr());
            other.store(lanes[Self::LANES..].as_mut_ptr());
            for lane in 0..Self::LANES {
                both[2 * lane] = lanes[lane];
                both[2 * lane + 1] = lanes[Self::LANES + lane];
            }
            [Self::load(both.as_ptr()), Self::load(both[Self::LANES..].as_ptr())]
        }
    }
    /// Runs a task in a function of its own, with the target features that the vector needs. Without
    /// it all forms of a loop are compiled as one function, in which the registers of each suffer from
    /// the others, and which takes as long to compile as the square of their number.
    ///
    /// # Safety
    /// As [`Task::run`].
    #[inline(never)]
    unsafe fn outlined(task: impl Task) {
        // SAFETY: the caller vouches for the task, and this vector needs no features that the rest of
        // the program hasn't got.
        unsafe { task.run() }
    }
    /// Stops the compiler from moving a load from after this call to before it, where its
    /// schedule would hold more values than there are registers.
    #[inline(always)]
    fn in_order() {}
    /// The same, but no load after this call is moved before it, and nothing that makes this vector after it:
    /// where one element of each row is loaded for one product, the compiler would load them all first.
    ///
    /// # Safety
    /// The caller runs with the features.
    #[inline(always)]
    unsafe fn in_turn(self) {}
    /// `p` and so many elements more, in a register of its own, where several loads read beside it: to each of them an index in
    /// its address is an operation more.
    #[inline(always)]
    fn at(p: *const Self::Element, elements: usize) -> *const Self::Element {
        p.wrapping_add(elements)
    }
    /// The sum of all lanes, halves upon halves.
    #[inline(always)]
    unsafe fn sum(self) -> Self::Element {
        const { Self::FITS };
        let mut lanes = [Self::Element::ZERO; MAX_LANES];
        // SAFETY: no vector has more than `MAX_LANES` lanes.
        unsafe { self.store(lanes.as_mut_ptr()) };
        let mut half = Self::LANES / 2;
        while half > 0 {
            for lane in 0..half {
                let other = lanes[lane + half];
                lanes[lane] += other;
            }
            half /= 2;
        }
        lanes[0]
    }
    /// The [`sum`](Self::sum) of each, written to `to`, which is good for whole vectors of them; in the
    /// same order of additions for each, which may be another than that of `sum`.
    #[inline(always)]
    unsafe fn sums<const N: usize>(vectors: &[Self; N], to: *mut Self::Element) {
        for (i, vector) in vectors.iter().enumerate() {
            // SAFETY: the caller vouches for `N` elements.
            unsafe { *to.add(i) = vector.sum() }
        }
    }
    /// Tells the cache that `p`, which need not be good, will soon be read.
    #[inline(always)]
    unsafe fn prefetch(_p: *const Self::Element) {}
    /// Tells the L2 cache that `p`, which need not be good, will be read some time later.
    #[inline(always)]
    unsafe fn prefetch_far(_p: *const Self::Element) {}
    /// Tells the cache that `p`, which need not be good, will soon be written.
    #[inline(always)]
    unsafe fn prefetch_write(_p: *const Self::Element) {}
}
