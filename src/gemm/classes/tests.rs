//! Products of several classes of rows, with every kernel, against a loop over their products.

use super::{CLASSES, Class, Operands, PARTS, Room, multiply};
use crate::element::Element;
use crate::gemm::grid::{Grid, Offsets};
use crate::gemm::target::{Order, Target};
use crate::kernel::tests::{kernels, number};
use crate::kernel::{Isa, Kernel};
use crate::numerics::KC;
use crate::testing::Unit;
use alloc::vec;
use alloc::vec::Vec;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub(crate) const TESTS: &[Unit] =
    &[("gemm::classes::each_meets_its_own_terms", each_meets_its_own_terms)];

/// The products of a class: where it begins in both operands, and the products' places from there.
struct Terms {
    first: [usize; 2],
    places: [Vec<u32>; 2],
}

impl Terms {
    /// Some of so many columns of a panel, or none, anywhere in a.
    fn some<T>(kernel: &Kernel<T>, columns: usize, rng: &mut SmallRng) -> Self {
        let (begin, share) = (rng.random_range(0..=columns), [0.0, 0.1, 0.9, 1.0]);
        let share = share[rng.random_range(0..4)];
        let taken: Vec<_> = (begin..columns).filter(|_| rng.random_bool(share)).collect();
        let right = taken.iter().map(|column| ((column - begin) * kernel.lanes) as u32).collect();
        let left = taken.iter().map(|_| rng.random_range(0..500)).collect();
        Self { first: [rng.random_range(0..50), begin * kernel.lanes], places: [left, right] }
    }
}

fn check<T: Element>(isa: Isa, kernel: &Kernel<T>, columns: usize, rng: &mut SmallRng) {
    let most =
        (1..=CLASSES).rev().find(|&classes| Room::of(kernel, classes) != Room::None).unwrap();
    let classes = if rng.random() { rng.random_range(1..=most) } else { most };
    let (count, lanes) =
        (rng.random_range(1..=3 * kernel.rows), rng.random_range(1..=2 * kernel.lanes + 1));
    let k: Vec<_> = (0..classes).map(|_| Terms::some(kernel, columns, rng)).collect();
    let rows: Vec<u32> = (0..count).map(|_| rng.random_range(0..300)).collect();
    let panel_pitch = columns * kernel.lanes;
    let a: Vec<T> = (0..50 + 500 + 300).map(|_| number(rng)).collect();
    let len = panel_pitch * lanes.div_ceil(kernel.lanes);
    let b: Vec<T> = (0..len).map(|_| number(rng)).collect();

    let all = count * classes;
    let target = Target::new(
        Grid::line(all, 1, all).unwrap(),
        Grid::untabled([1, 1, 1, lanes], [0, 0, 0, all + 2], [1, 1, 1, lanes]),
        0,
        all + 2,
        Order::RowsOutside,
    );
    let accumulate = rng.random();
    let old = vec![if accumulate { T::ONE } else { T::from_f64(f64::NAN) }; lanes * (all + 2)];
    let mut c = old.clone();
    let mut block = target.over(&mut c).next().unwrap();
    let operands = Operands { data: &a, rows: Offsets::new(&rows), panels: &b, panel_pitch };
    let each = k.iter().map(|Terms { first, places }| Class {
        first: *first,
        k: places.each_ref().map(|places| Offsets::new(places)),
    });
    multiply(kernel, &mut block, operands, each, accumulate);

    for lane in 0..lanes {
        for r in 0..all + 2 {
            let place = lane * (all + 2) + r;
            let mut sum = old[place];
            if r < all {
                let Terms { first, places: [left, right] } = &k[r % classes];
                let product = |(&left, &right): (&u32, &u32)| {
                    let row = rows[r / classes] as usize;
                    let panel = lane / kernel.lanes * panel_pitch + lane % kernel.lanes;
                    a[first[0] + row + left as usize] * b[first[1] + panel + right as usize]
                };
                sum = if accumulate { sum } else { T::ZERO };
                sum = left.iter().zip(right).map(product).fold(sum, |sum, product| sum + product);
            }
            let got = c[place];
            let same = got == sum || (r >= all && got.into().is_nan() && sum.into().is_nan());
            assert!(same, "{isa}: row {r} of {all}, lane {lane} of {lanes}: {got} for {sum}");
        }
    }
}

/// Kinds with all products, some and none, in a panel of one part and of several.
fn each_meets_its_own_terms() {
    fn check_all<T: Element>() {
        let mut rng = SmallRng::seed_from_u64(12);
        for (isa, kernel, _) in kernels::<T>() {
            for columns in [1, 2, 7, 40, KC, KC + 1, PARTS * KC] {
                for _ in 0..if columns < KC { 8 } else { 2 } {
                    check(isa, kernel, columns, &mut rng);
                }
            }
        }
    }
    check_all::<f32>();
    check_all::<f64>();
}
