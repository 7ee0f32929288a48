//! Scratch of any length, at any alignment, holding anything: the same bits as with the plan's
//! own, nothing outside it touched, and an error if it is too short.

#![no_main]

use im2col::testing::{bits, calls, nan};
use im2col::{Element, Error};
use im2col_fuzz::{Small, in_points, plans};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Small, u8, u16)| {
    let (small, offset, len) = input;
    if small.double { check::<f64>(&small, offset, len) } else { check::<f32>(&small, offset, len) }
});

fn check<T: Element>(small: &Small, offset: u8, len: u16) {
    let Some(layer) = small.layer::<T>() else { return };
    for plan in plans::<T>(layer.shape).chain(in_points(layer.shape)) {
        for (pass, write) in calls() {
            let min = plan.min_scratch_len(pass);
            // From half of what is needed to some more.
            let len = min / 2 + usize::from(len) % (min + 40);
            let (first, end) = (usize::from(offset), usize::from(offset) + len);
            let mut memory: Vec<T> = vec![nan(); end + 64];
            let mut to = layer.before(pass, write);
            let scratch = Some(&mut memory[first..end]);
            let result = layer.run_into(&plan, pass, write, scratch, &mut to);
            if len < min {
                assert_eq!(result, Err(Error::Scratch { expected: min, found: len }));
                assert_eq!(bits(&to), bits(&layer.before(pass, write)), "written on error");
                assert!(memory.iter().all(|&x| x.into().is_nan()), "written on error");
                continue;
            }
            result.unwrap();
            assert_eq!(bits(&to), bits(&layer.run(&plan, pass, write)), "{pass:?} of {plan:?}");
            let outside = memory[..first].iter().chain(&memory[end..]);
            assert!(outside.into_iter().all(|&x| x.into().is_nan()), "{pass:?} of {plan:?}");
        }
    }
}
