//! Schedules as data: printed, read, forced, refused, and picked by the clock. That each of them computes what it should is in
//! `passes.rs`.

use im2col::testing::{Fill, Layer, PASSES, bits};
use im2col::{Accuracy, Conv2d, Engine, Error, Layout, Pass, Plan, Schedule, Write};
use std::time::Duration;

fn plan() -> Plan<f32> {
    Conv2d::new([1, 8, 14, 14], [16, 8, 3, 3]).padding([1, 1]).plan().unwrap()
}

#[test]
fn what_is_no_schedule_is_refused_with_a_reason() {
    for (text, reason) in [
        ("", "the engine"),
        ("winding", "the engine"),
        ("implicit lanes", "a field without `=`"),
        ("implicit lanes=corners", "the corner"),
        ("implicit cols=inplace", "the staging"),
        ("implicit padding=ones", "the padding"),
        ("implicit depth=3", "a field's name"),
        ("implicit taps=-3", "a number"),
        ("explicit taps=3", "a field of `explicit`"),
    ] {
        let error = text.parse::<Schedule>().unwrap_err().to_string();
        assert!(error.starts_with(reason), "{text:?}: {error}");
    }
}

#[test]
fn a_schedule_that_is_not_possible_is_refused() {
    let plan = plan();
    let refused = |pass, schedule: Schedule| {
        let error = plan.clone().with_schedule(pass, schedule).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{schedule}: {error}");
    };
    for pass in PASSES {
        for mut schedule in plan.candidates(pass).unwrap() {
            // No panel is so wide; blocks of any size would take scratch of any size.
            if schedule.engine == Engine::Implicit && schedule.pixels > 0 {
                let known = schedule;
                schedule.touched = usize::MAX;
                refused(pass, schedule);
                schedule = known;
                schedule.pixels = usize::MAX;
                refused(pass, schedule);
                schedule = known;
                schedule.taps = 0;
                refused(pass, schedule);
                if known.width > 0 {
                    schedule = known;
                    schedule.width += 1;
                    refused(pass, schedule);
                }
            }
        }
    }
    // Dot products along the pixels are backward_weight's, those along the taps of channels last forward's.
    let text = "implicit lanes=taps cols=copied other=in-place padding=zeros pixels=100 taps=100 touched=9999";
    refused(Pass::Forward, text.parse().unwrap());
    refused(Pass::Forward, "direct lanes=channels other=packed padding=masked".parse().unwrap());
}

#[test]
fn weights_packed_for_another_schedule_are_refused_or_right() {
    let plan = plan();
    let layer = Layer::<f32>::new(*plan.shape().params(), Fill::Integers);
    let packed = plan.pack_weight(Pass::Forward, &layer.weight).unwrap();
    let right = bits(&layer.run(&plan, Pass::Forward, Write::Overwrite));
    let mut refused = 0;
    for schedule in plan.candidates(Pass::Forward).unwrap() {
        let forced = plan.clone().with_schedule(Pass::Forward, schedule).unwrap();
        let mut output = vec![f32::NAN; plan.shape().output_len()];
        match forced.forward(&layer.input, &packed).run(&mut output) {
            Ok(()) => assert!(bits(&output) == right, "{schedule}"),
            Err(Error::PackedFor { .. }) => refused += 1,
            Err(error) => panic!("{schedule}: {error}"),
        }
    }
    assert!(refused > 0);
}

#[test]
fn what_the_clock_picks_is_a_candidate_and_can_be_given_back() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let conv = Conv2d::<f32>::new([2, 6, 9, 9], [12, 6, 3, 3]).layout(layout);
        let plan = conv.plan().unwrap();
        let measured = conv.plan().unwrap().measured(Duration::from_millis(30)).unwrap();
        let layer = Layer::<f32>::new(*plan.shape().params(), Fill::Uniform);
        let mut again = conv.plan().unwrap();
        for pass in PASSES {
            let picked = measured.schedule(pass).unwrap();
            assert!(plan.candidates(pass).unwrap().contains(&picked), "{picked}");
            again = again.with_schedule(pass, picked.to_string().parse().unwrap()).unwrap();
            let run = |plan| bits(&layer.run(plan, pass, Write::Overwrite));
            assert!(run(&measured) == run(&again), "{picked}");
        }
    }
}

#[test]
fn schedules_in_points_are_candidates_where_the_accuracy_allows_them() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let conv = Conv2d::<f32>::new([2, 6, 9, 9], [12, 6, 3, 3]).padding([1, 1]).layout(layout);
        for pass in PASSES {
            let of = |accuracy| conv.accuracy(accuracy).plan().unwrap().candidates(pass).unwrap();
            let tiles = |accuracy| {
                let in_points = |s: &&Schedule| s.engine == Engine::Winograd;
                let mut tiles: Vec<_> =
                    of(accuracy).iter().filter(in_points).map(|s| s.tile).collect();
                tiles.sort_unstable();
                tiles
            };
            assert_eq!(tiles(Accuracy::Element), []);
            assert_eq!(tiles(Accuracy::Tile2), [2]);
            assert_eq!(tiles(Accuracy::Tile), [2, 4]);
            // All others are the same, and each of them can be kept and given back.
            let all = of(Accuracy::Tile);
            assert!(of(Accuracy::Element).iter().all(|schedule| all.contains(schedule)));
            let plan = conv.plan().unwrap();
            for schedule in all {
                let again: Schedule = schedule.to_string().parse().unwrap();
                assert_eq!(again, schedule);
                let forced = plan.clone().with_schedule(pass, again).unwrap();
                assert_eq!(forced.schedule(pass), Some(schedule));
            }
        }
    }
}

/// backward_weight of 48 output channels, so that panels have a narrow rest, with padding for taps to leave out: in
/// blocks of so many pixels, for every width of a panel. How many widths were possible.
fn backward_weight_by(pixels: usize) -> usize {
    const SIDE: usize = 80;
    let conv = Conv2d::<f32>::new([1, 8, SIDE, SIDE], [48, 8, 3, 3]).padding([1, 1]);
    let mut possible = 0;
    for width in [4, 8, 16, 32] {
        let text = format!(
            "implicit lanes=channels cols=in-place other=packed-per-block padding=skipped \
             width={width} pixels={pixels} taps=616 touched=131072 parts=1"
        );
        let plan = conv.plan().unwrap();
        let Ok(plan) = plan.with_schedule(Pass::BackwardWeight, text.parse().unwrap()) else {
            continue;
        };
        let input = vec![1.0; plan.shape().input_len()];
        let grad_output = vec![1.0; plan.shape().output_len()];
        let mut grad_weight = vec![0.0; plan.shape().weight_len()];
        plan.backward_weight(&input, &grad_output).run(&mut grad_weight).unwrap();
        // Every tap meets all pixels but those of the row and of the column where it meets padding.
        let met = |tap: usize| if tap == 1 { SIDE } else { SIDE - 1 };
        for (i, &sum) in grad_weight.iter().enumerate() {
            assert_eq!(sum, (met(i / 3 % 3) * met(i % 3)) as f32, "{text}, weight {i}");
        }
        possible += 1;
    }
    possible
}

#[test]
fn a_block_of_any_number_of_pixels_is_refused_or_right() {
    assert!(backward_weight_by(1024) > 0, "no width was possible: the test tests nothing");
    for pixels in [1, 384, 1536, 1537, 3072, 3073, 6400, 1 << 20, usize::MAX] {
        backward_weight_by(pixels);
    }
}
