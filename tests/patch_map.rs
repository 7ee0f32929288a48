//! The map of the patches against everything that walks over them in another way: `im2col`,
//! `col2im`, the naive loops and the passes.

use im2col::testing::{Fill, for_families, numbers, plans};
use im2col::{Conv2d, Error, Layout, Params, PatchMap, Shape, Term, Write};
use im2col::{col2im, im2col, reference};

/// Where im2col puts the element of a tap of a group at an output position of one image.
fn place_in_cols(shape: &Shape, group: usize, tap: usize, position: usize) -> usize {
    let (taps, channels) = (shape.kernel_taps(), shape.in_channels());
    let first = group * shape.group_in();
    match shape.layout() {
        Layout::ChannelsFirst => (first * taps + tap) * shape.output_pixels() + position,
        _ => {
            let (tap, channel) = (tap / shape.group_in(), tap % shape.group_in());
            (position * taps + tap) * channels + first + channel
        }
    }
}

/// Calls `visit` for every element of the cols of one image: its place, and the input element.
fn for_cols(shape: &Shape, mut visit: impl FnMut(usize, Option<usize>)) {
    let patches = shape.patches();
    for group in 0..shape.groups() {
        for tap in 0..patches.taps() {
            for position in 0..patches.positions() {
                let term = patches.term(group * shape.group_out(), tap, position).unwrap();
                visit(place_in_cols(shape, group, tap, position), term.input);
            }
        }
    }
}

#[test]
fn im2col_copies_along_the_map() {
    for_families(12, |params| {
        let shape = Shape::new(Params { batch: 1, ..params }).unwrap();
        // Every element another number, none of them zero.
        let image: Vec<f32> = (0..shape.image_len()).map(|i| i as f32 + 1.0).collect();
        let len = shape.cols_len().unwrap();
        let (mut cols, mut mapped) = (vec![f32::NAN; len], vec![f32::NAN; len]);
        im2col(&shape, &image, &mut cols).unwrap();
        for_cols(&shape, |place, input| mapped[place] = input.map_or(0.0, |i| image[i]));
        assert!(cols == mapped, "{params:?}");
    });
}

#[test]
fn col2im_adds_along_the_map() {
    for_families(12, |params| {
        let shape = Shape::new(Params { batch: 1, ..params }).unwrap();
        let cols: Vec<f64> = numbers(Fill::Painted, 0, shape.cols_len().unwrap());
        let (mut image, mut mapped) =
            (vec![f64::NAN; shape.image_len()], vec![0.0; shape.image_len()]);
        col2im(&shape, &cols, &mut image, Write::Overwrite).unwrap();
        for_cols(&shape, |place, input| {
            if let Some(i) = input {
                mapped[i] += cols[place];
            }
        });
        assert!(image == mapped, "{params:?}");
    });
}

/// The same products as the naive loops', each as often: once.
#[test]
fn terms_are_those_of_the_naive_loops() {
    for_families(12, |params| {
        let shape = Shape::new(params).unwrap();
        let mut naive = Vec::new();
        reference::terms(&shape, |o, i, w| naive.push((o, w, i)));
        let mapped = shape.patches().terms();
        let mut mapped: Vec<_> =
            mapped.filter_map(|term| Some((term.output, term.weight, term.input?))).collect();
        naive.sort_unstable();
        mapped.sort_unstable();
        assert!(naive == mapped, "{params:?}");
    });
}

/// Straight from the definition, with nothing of the library's arithmetic.
#[test]
fn a_term_is_its_definition() {
    for_families(4, |params| {
        let params = Params { axes: 1, batch: 2, layout: Layout::ChannelsFirst, ..params };
        let shape = Shape::new(params).unwrap();
        let (axis, patches) = (shape.axes()[0], shape.patches());
        let (group_in, group_out) =
            (params.in_channels / params.groups, params.out_channels / params.groups);
        for image in 0..2 {
            for k in 0..params.out_channels {
                for o in 0..axis.output {
                    for c in 0..group_in {
                        for r in 0..axis.kernel {
                            let source = (o * axis.stride + r * axis.dilation) as isize
                                - axis.pad_begin as isize;
                            let channel = image * params.in_channels + k / group_out * group_in + c;
                            let expected = Term {
                                output: (image * params.out_channels + k) * axis.output + o,
                                weight: (k * group_in + c) * axis.kernel + r,
                                input: (0..axis.input as isize)
                                    .contains(&source)
                                    .then(|| channel * axis.input + source as usize),
                            };
                            let (tap, position) = (c * axis.kernel + r, image * axis.output + o);
                            let found = patches.term(k, tap, position).unwrap();
                            assert_eq!(found, expected, "{params:?}");
                        }
                    }
                }
            }
        }
    });
}

/// A pass is the sum over the map, whatever plan runs it.
#[test]
fn passes_are_sums_over_the_map() {
    for_families(2, |params| {
        let shape = Shape::new(params).unwrap();
        let input: Vec<f64> = numbers(Fill::Integers, 0, shape.input_len());
        let weight: Vec<f64> = numbers(Fill::Integers, 1, shape.weight_len());
        let grad_output: Vec<f64> = numbers(Fill::Integers, 2, shape.output_len());
        let mut expected =
            [shape.output_len(), shape.weight_len(), shape.input_len()].map(|len| vec![0.0; len]);
        for term in shape.patches().terms() {
            let Term { output: o, weight: w, input: Some(i) } = term else { continue };
            expected[0][o] += input[i] * weight[w];
            expected[1][w] += grad_output[o] * input[i];
            expected[2][i] += grad_output[o] * weight[w];
        }
        for plan in plans::<f64>(shape) {
            let mut found = expected.each_ref().map(|sums| vec![f64::NAN; sums.len()]);
            let [output, grad_weight, grad_input] = &mut found;
            plan.forward(&input, &weight).run(output).unwrap();
            plan.backward_weight(&input, &grad_output).run(grad_weight).unwrap();
            plan.backward_data(&weight, &grad_output).run(grad_input).unwrap();
            assert!(found == expected, "{}", plan.explain());
        }
    });
}

#[test]
fn terms_come_channel_by_channel_then_position_then_tap() {
    let shape = *Conv2d::<f32>::new([2, 2, 3, 3], [4, 1, 2, 2]).groups(2).plan().unwrap().shape();
    let patches = shape.patches();
    assert_eq!((patches.taps(), patches.positions()), (4, 8));
    let mut terms = patches.terms();
    for channel in 0..4 {
        for position in 0..8 {
            for tap in 0..4 {
                let term = patches.term(channel, tap, position).unwrap();
                assert_eq!(terms.next(), Some(term));
            }
        }
    }
    assert_eq!(terms.next(), None);
}

#[test]
fn what_the_layer_does_not_have_is_refused() {
    let shape = *Conv2d::<f32>::new([1, 1, 3, 3], [1, 1, 2, 2]).plan().unwrap().shape();
    let patches: PatchMap<'_> = shape.patches();
    for far in [4, usize::MAX] {
        for (coordinates, what, len) in [
            ([far, 0, 0], "output channel", 1),
            ([0, far, 0], "tap", 4),
            ([0, 0, far], "output position", 4),
        ] {
            let [channel, tap, position] = coordinates;
            let refused = patches.term(channel, tap, position);
            assert_eq!(refused, Err(Error::Index { what, len, found: far }));
        }
    }
    let error = patches.term(0, 4, 0).unwrap_err();
    assert_eq!(error.to_string(), "tap 4: this layer has 4 of them, counted from 0");
}
