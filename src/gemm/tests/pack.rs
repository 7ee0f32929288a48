//! Panels against their definition.

use crate::element::Element;
use crate::gemm::pack::{Source, pack};
use crate::kernel::tests::kernels;
use alloc::vec;
use alloc::vec::Vec;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Panels against their definition: columns along the memory and across it, forwards and
/// backwards, in blocks, with fewer lanes than a panel has.
fn check_pack<T: Element>() {
    let mut rng = SmallRng::seed_from_u64(4);
    for (isa, kernel, _) in kernels::<T>() {
        let vector = kernel.vector;
        for lanes in 1..=kernel.lanes {
            for cols in [1, 2, vector - 1, vector, vector + 1, 3 * vector + 1] {
                for (blocks, reversed, across) in
                    [(1, false, true), (3, true, true), (2, false, false), (1, true, false)]
                {
                    let (cols, gap) = (cols.max(1), rng.random_range(0..3));
                    let (lane, col) = if across { (cols + gap, 1) } else { (1, lanes + gap) };
                    let block = if across { lanes * lane } else { cols * col } + gap;
                    let reach = (lanes - 1) * lane + (cols - 1) * col + (blocks - 1) * block;
                    let data: Vec<T> = (0..=reach).map(|i| T::from_f64(i as f64 + 1.0)).collect();
                    let mut to = vec![T::from_f64(f64::NAN); blocks * cols * kernel.lanes];
                    let source = Source { data: &data, lanes, lane, cols, col, blocks, block };
                    pack(kernel, source, &mut to, reversed);
                    for (i, &got) in to.iter().enumerate() {
                        let (l, c) = (i % kernel.lanes, i / kernel.lanes % cols);
                        let (b, c) =
                            (i / kernel.lanes / cols, if reversed { cols - 1 - c } else { c });
                        let place = b * block + c * col + l * lane;
                        let expected = if l < lanes { data[place] } else { T::ZERO };
                        assert!(
                            got == expected,
                            "{isa}: lane {l}, column {c}, block {b} of {lanes} x {cols}: {got}"
                        );
                    }
                }
            }
        }
    }
}

pub(super) fn panels() {
    check_pack::<f32>();
    check_pack::<f64>();
}
