//! What is asked of an axis, against all its outputs and taps one by one.

use super::{Phases, Walk, inside};
use crate::shape::{Axis, Params, Shape};
use crate::testing::Unit;
use alloc::vec;
use alloc::vec::Vec;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub(crate) const TESTS: &[Unit] = &[
    ("axis::ranges_are_those_of_each_output_and_tap", ranges_are_those_of_each_output_and_tap),
    ("axis::regions_have_the_same_taps", regions_have_the_same_taps),
    ("axis::phases_are_every_meeting_once", phases_are_every_meeting_once),
    ("axis::elements_inside_are_counted", elements_inside_are_counted),
];

/// An axis at random: small, of any padding, often with gaps and with outputs that meet nothing.
fn axis(rng: &mut SmallRng) -> Axis {
    loop {
        let mut size = |low: usize, high: usize| rng.random_range(low..=high);
        let params = Params {
            axes: 1,
            input: [size(1, 12), 1, 1],
            kernel: [size(1, 9), 1, 1],
            stride: [size(1, 6), 1, 1],
            dilation: [size(1, 6), 1, 1],
            pad_begin: [size(0, 9), 0, 0],
            pad_end: [size(0, 9), 0, 0],
            ..Params::default()
        };
        if let Ok(shape) = Shape::new(params) {
            return shape.axes()[0];
        }
    }
}

/// The formula, by itself: the input element of an output and a tap.
fn element(axis: &Axis, output: usize, tap: usize) -> Option<usize> {
    let at = output as i64 * axis.stride as i64 + tap as i64 * axis.dilation as i64;
    usize::try_from(at - axis.pad_begin as i64).ok().filter(|&at| at < axis.input)
}

/// The numbers of a range that a test is right for, which must follow each other.
fn numbers(len: usize, is_met: impl Fn(usize) -> bool) -> Vec<usize> {
    (0..len).filter(|&i| is_met(i)).collect()
}

fn ranges_are_those_of_each_output_and_tap() {
    let mut rng = SmallRng::seed_from_u64(1);
    for _ in 0..5000 {
        let axis = axis(&mut rng);
        let walk = axis.walk();
        let mut met = 0;
        for tap in 0..axis.kernel {
            for output in 0..axis.output {
                let element = element(&axis, output, tap);
                assert_eq!(axis.source(output, tap), element, "{axis:?}: {output}, {tap}");
                assert_eq!(walk.meet(output, tap), element, "{axis:?}: {output}, {tap}");
                met += usize::from(element.is_some());
            }
            let outputs = numbers(axis.output, |output| element(&axis, output, tap).is_some());
            assert_eq!(axis.inside(tap).collect::<Vec<_>>(), outputs, "{axis:?}: tap {tap}");
            assert_eq!(walk.inside(tap).collect::<Vec<_>>(), outputs, "{axis:?}: tap {tap}");
        }
        for output in 0..axis.output {
            let taps = numbers(axis.kernel, |tap| element(&axis, output, tap).is_some());
            assert_eq!(walk.taps_of(output).collect::<Vec<_>>(), taps, "{axis:?}: {output}");
        }
        let all = |output| (0..axis.kernel).all(|tap| element(&axis, output, tap).is_some());
        assert_eq!(walk.whole().collect::<Vec<_>>(), numbers(axis.output, all), "{axis:?}");
        assert_eq!(walk.is_inside(), (0..axis.output).all(all), "{axis:?}");
        let share = met as f64 / (axis.output * axis.kernel) as f64;
        assert!((walk.met() - share).abs() < 1e-12, "{axis:?}: {share}");
    }
}

fn regions_have_the_same_taps() {
    let mut rng = SmallRng::seed_from_u64(2);
    for _ in 0..5000 {
        let axis = axis(&mut rng);
        let taps = |output| numbers(axis.kernel, |tap| element(&axis, output, tap).is_some());
        let regions = axis.walk().regions().unwrap();
        let lonely = (0..axis.output).any(|output| taps(output).is_empty());
        let all_alike = (0..axis.output).all(|output| taps(output).len() == axis.kernel);
        if lonely || all_alike || axis.kernel > super::Region::MOST_TAPS {
            assert!(regions.is_empty(), "{axis:?}: {regions:?}");
            continue;
        }
        // One after the other they are all outputs, and no two that follow each other are one.
        let outputs = regions.iter().flat_map(|region| region.outputs.clone());
        assert!(outputs.eq(0..axis.output), "{axis:?}: {regions:?}");
        assert!(regions.windows(2).all(|pair| pair[0].taps != pair[1].taps), "{axis:?}");
        for region in regions {
            let of_region = region.taps.clone().collect::<Vec<_>>();
            assert!(region.outputs.clone().all(|output| taps(output) == of_region), "{axis:?}");
        }
    }
}

fn phases_are_every_meeting_once() {
    let mut rng = SmallRng::seed_from_u64(3);
    for _ in 0..5000 {
        let axes = [(); 3].map(|()| axis(&mut rng));
        let phases = Phases::new(&axes).unwrap();
        assert!(phases.len() <= super::phase_count(&axes) && phases.iter().count() == phases.len());
        let axis = &axes[2];
        let mut meetings = vec![];
        for phase in phases.columns() {
            let walk = &phase.walk;
            for element in 0..walk.outputs {
                for tap in 0..walk.taps {
                    if let Some(output) = walk.meet(element, tap) {
                        let tap = axis.kernel - 1 - phase.last - tap * phase.step;
                        meetings.push([phase.first + element * axis.stride, tap, output]);
                    }
                }
            }
        }
        let mut expected = vec![];
        for output in 0..axis.output {
            for tap in 0..axis.kernel {
                let input = element(axis, output, tap);
                expected.extend(input.map(|input| [input, tap, output]));
            }
        }
        meetings.sort_unstable();
        expected.sort_unstable();
        assert_eq!(meetings, expected, "{axis:?}");
    }
}

fn elements_inside_are_counted() {
    let mut rng = SmallRng::seed_from_u64(4);
    for _ in 0..20000 {
        let (first, len) = (rng.random_range(-20i32..20) as isize, rng.random_range(0..20));
        let (step, count) = (rng.random_range(1..7), rng.random_range(0..9));
        let at = |i: usize| first + (i * step) as isize;
        let expected = numbers(count, |i| (0..len as isize).contains(&at(i)));
        let found = inside(first, step, count, len).collect::<Vec<_>>();
        assert_eq!(found, expected, "{count} from {first} by {step} of {len}");
    }
    assert_eq!(Walk::UNIT.meet(0, 0), Some(0));
}
