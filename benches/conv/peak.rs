//! The FMA peak: multiplications and additions in registers, no memory, sums enough that none
//! waits for another.

/// Rounds of one call.
const ROUNDS: usize = 20_000;

/// Sums that run side by side: two units with a latency of at most 5 need 10.
const SUMS: usize = 16;

/// A loop of the widest FMA that the machine has.
pub(crate) struct Peak {
    pub(crate) name: &'static str,
    lanes: usize,
    rounds: fn(usize),
}

impl Peak {
    /// Operations of one call.
    pub(crate) fn flops(&self) -> u64 {
        (2 * self.lanes * SUMS * ROUNDS) as u64
    }

    pub(crate) fn run(&self) {
        (self.rounds)(ROUNDS);
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn best() -> Option<Peak> {
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has just said that it has avx512f.
        return Some(Peak { name: "AVX-512", lanes: 16, rounds: |n| unsafe { x86::avx512(n) } });
    }
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has just said that it has avx2 and fma.
        return Some(Peak { name: "AVX2", lanes: 8, rounds: |n| unsafe { x86::avx2(n) } });
    }
    None
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::SUMS;
    use std::arch::x86_64::*;
    use std::hint::black_box;

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(rounds: usize) {
        let (a, b) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(1.0)));
        let mut sums = black_box([_mm512_setzero_ps(); SUMS]);
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2(rounds: usize) {
        let (a, b) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(1.0)));
        // With a and b that makes 14 of the 16 registers.
        let mut sums = black_box([_mm256_setzero_ps(); 12]);
        for _ in 0..rounds * SUMS / sums.len() {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums);
    }
}

#[cfg(target_arch = "aarch64")]
pub(crate) fn best() -> Option<Peak> {
    use std::hint::black_box;
    fn rounds(rounds: usize) {
        let (a, b) = (black_box(0.5f32), black_box(1.0));
        let mut sums = black_box([[0.0f32; 4]; SUMS]);
        for _ in 0..rounds {
            sums.iter_mut().flatten().for_each(|sum| *sum = sum.mul_add(a, b));
        }
        black_box(sums);
    }
    Some(Peak { name: "NEON", lanes: 4, rounds })
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn best() -> Option<Peak> {
    None
}
