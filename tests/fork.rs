//! A process that is copied by `fork` has none of the pool's threads: its child computes all the same, and gets the same bits.
#![cfg(unix)]
#![allow(unsafe_code, reason = "fork, alarm, waitpid and _exit are C's")]

#[cfg(feature = "rayon")]
use im2col::Executor;
use im2col::{Conv2d, Plan};

fn output(plan: &Plan<f32>) -> Vec<u32> {
    let numbers = |len: usize| (0..len).map(|i| (i * 7 % 11) as f32 - 5.5).collect::<Vec<_>>();
    let shape = plan.shape();
    let mut y = vec![f32::NAN; shape.output_len()];
    plan.forward(&numbers(shape.input_len()), &numbers(shape.weight_len())).run(&mut y).unwrap();
    y.iter().map(|y| y.to_bits()).collect()
}

/// A child's answer, or its end after 20 seconds.
fn in_child(is_right: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child has this thread alone; it calls the library, and ends by `_exit`, before any code of the test's.
    match unsafe { libc::fork() } {
        -1 => panic!("no child could be made"),
        0 => {
            // SAFETY: no handler is set: the signal ends the child.
            unsafe { libc::alarm(20) };
            let right = std::panic::catch_unwind(std::panic::AssertUnwindSafe(is_right));
            // SAFETY: ends the child, and nothing else.
            unsafe { libc::_exit(if right.unwrap_or(false) { 0 } else { 1 }) }
        }
        child => {
            let mut status = -1;
            // SAFETY: `status` is room for a number, and `child` is ours and not waited for yet.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            status == 0
        }
    }
}

#[test]
fn a_child_of_a_process_with_a_pool_computes() {
    let conv = Conv2d::<f32>::new([4, 16, 64, 64], [16, 16, 3, 3]).padding(1);
    let plan = conv.plan().unwrap();
    let expected = output(&plan);
    assert!(in_child(|| output(&plan) == expected), "on the plan of its parent");
    assert!(in_child(|| output(&conv.plan().unwrap()) == expected), "on a plan of its own");
    // A child's child, whose parent has a pool of its own.
    let twice = || output(&plan) == expected && in_child(|| output(&plan) == expected);
    assert!(in_child(twice), "in a child's child");
    #[cfg(feature = "rayon")]
    assert!(in_child(|| im2col::Rayon.workers() >= 1), "asking for workers");
}
