//! Vectors by themselves, on elements that end and begin where a page does.

use super::{Element, Vec, nan, same, vec};
use crate::kernel::vector::{Between, Vector};
use crate::testing::{EDGES, Guarded};

fn check<V: Vector<Element: Element>>() {
    let number = |i: usize| V::Element::from_f64(i as f64 + 1.0);
    let zero = V::Element::ZERO;
    let lanes = |v: V| {
        let mut lanes = vec![nan::<V::Element>(); V::LANES];
        // SAFETY: the machine has the ISA, here and below, and `lanes` a vector's elements.
        unsafe { v.store(lanes.as_mut_ptr()) };
        lanes
    };
    let row: Vec<_> = (0..V::LANES).map(number).collect();
    for edge in EDGES {
        for n in 0..=V::LANES {
            let from = Guarded::new(edge, &row[..n]);
            // SAFETY: `n` elements.
            let v = lanes(unsafe { V::load_first(from.as_ptr(), n) });
            assert_eq!(v[..n], row[..n]);
            assert!(v[n..].iter().all(|&x| x == zero));

            let mut to = Guarded::new(edge, &vec![zero; n]);
            // SAFETY: `n` elements.
            unsafe { V::load(row.as_ptr()).store_first(to.as_mut_ptr(), n) };
            assert_eq!(to[..], row[..n]);
        }
        for step in [1, 2, 3, 5] {
            for low in 0..=V::LANES {
                for high in 0..=V::LANES {
                    let count = high.saturating_sub(low);
                    let len = count.checked_sub(1).map_or(0, |last| last * step + 1);
                    // The row may have more than the lanes, on either side.
                    for (before, after) in [(0, 0), (1, 0), (0, 2), (3, 1), (40, 0), (0, 40)] {
                        let line: Vec<_> = (0..before + len + after).map(number).collect();
                        if step <= 2 && line.len() < V::ROW * step {
                            continue;
                        }
                        let from = Guarded::new(edge, &line);
                        let first = before as isize - (low * step) as isize;
                        let p = from.as_ptr().wrapping_offset(first);
                        let row = -first..line.len() as isize - first;
                        // SAFETY: `from` is the row, and lanes `low..high` are in it.
                        let v = lanes(unsafe {
                            let mask = V::mask(Between { step, low, high }, row);
                            match step {
                                1 => V::load_masked::<1>(p, mask),
                                2 => V::load_masked::<2>(p, mask),
                                _ => V::load_masked::<0>(p, mask),
                            }
                        });
                        for (lane, &x) in v.iter().enumerate() {
                            let inside = (low..high).contains(&lane);
                            let place = |lane: usize| before + (lane - low) * step;
                            let expected = if inside { line[place(lane)] } else { zero };
                            assert_eq!(x, expected, "{low}..{high} by {step}");
                        }
                    }
                }
            }
        }
        for width in 1..=V::LANES {
            for (gap, turned) in [(0, false), (3, false), (3, true)] {
                let rows: Vec<_> = (0..V::LANES)
                    .map(|r| (0..width).map(|c| number(r * width + c)).collect::<Vec<_>>())
                    .map(|row| Guarded::new(edge, &row))
                    .collect();
                let pointers: Vec<_> = rows.iter().map(|row| row.as_ptr()).collect();
                let step = V::LANES + gap;
                let len = (width - 1) * step + V::LANES;
                let mut to = Guarded::new(edge, &vec![nan::<V::Element>(); len]);
                let (first, sign) = if turned { ((width - 1) * step, -1) } else { (0, 1) };
                // SAFETY: `width` elements at each pointer, `width` rows in `to`.
                unsafe {
                    let to = to.as_mut_ptr().add(first);
                    V::transpose(|r| pointers[r], width, to, sign * step as isize);
                }
                for (i, &x) in to.iter().enumerate() {
                    let (c, lane) = (i / step, i % step);
                    let c = if turned { width - 1 - c } else { c };
                    let expected = if lane < V::LANES { number(lane * width + c) } else { nan() };
                    assert!(same(x, expected), "{width} wide, {gap}, {turned}: {i} is {x}");
                }
            }
        }
    }
    let [low, high] = [-1.0, 2.0].map(V::Element::from_f64);
    for x in [-5.0, -1.0, -0.5, 0.0, 2.0, 7.0, f64::INFINITY, f64::NAN] {
        let x = V::Element::from_f64(x);
        // SAFETY: as above.
        let v = lanes(unsafe { V::splat(x).clamp(V::splat(low), V::splat(high)) });
        assert!(v.iter().all(|&y| same(y, x.clamp_to(low, high))), "{x} is {v:?}");
    }
    // SAFETY: as above.
    let v = lanes(unsafe { V::splat(number(1)).mul_add(V::splat(number(2)), V::splat(number(3))) });
    assert!(v.iter().all(|&x| x == V::Element::from_f64(10.0)));
    // SAFETY: as above.
    let v = lanes(unsafe { V::load(row.as_ptr()).add(V::splat(number(0))) });
    assert!(v.iter().enumerate().all(|(i, &x)| x == number(i + 1)));
}

pub(super) fn portable() {
    check::<[f32; 4]>();
    check::<[f64; 2]>();
}

#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub(super) fn neon() {
    check::<core::arch::aarch64::float32x4_t>();
    check::<core::arch::aarch64::float64x2_t>();
}

#[cfg(target_arch = "x86_64")]
pub(super) fn avx2() {
    if super::Isa::Avx2.is_available() {
        check::<core::arch::x86_64::__m256>();
        check::<core::arch::x86_64::__m256d>();
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) fn avx512() {
    if super::Isa::Avx512.is_available() {
        check::<core::arch::x86_64::__m512>();
        check::<core::arch::x86_64::__m512d>();
    }
}
