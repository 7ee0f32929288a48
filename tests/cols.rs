//! The patch matrix against its definition, element by element: `cols[c, tap][pixel]` is the
//! pixel of the image that the tap reads there, or zero where that is padding. And `col2im` is
//! exactly its adjoint.

use im2col::testing::{Fill, bits, dot, for_families, nan, numbers};
use im2col::{Element, Layout, MAX_AXES, Params, Shape, Write, col2im, im2col};

/// Where element `(channel, tap, pixel)` of cols lies, and what it has to be: `None` is padding.
fn for_cols(shape: &Shape, mut visit: impl FnMut(usize, Option<usize>)) {
    let (c, taps, pixels) = (shape.in_channels(), shape.kernel_taps(), shape.output_pixels());
    let split = |flat: usize, size: fn(&im2col::Axis) -> usize| {
        let mut rest = flat;
        let mut position = [0; MAX_AXES];
        for (a, axis) in shape.axes().iter().enumerate().rev() {
            (position[a], rest) = (rest % size(axis), rest / size(axis));
        }
        position
    };
    for channel in 0..c {
        for tap in 0..taps {
            for pixel in 0..pixels {
                let (k, o) = (split(tap, |a| a.kernel), split(pixel, |a| a.output));
                let mut source = Some(0);
                for (a, axis) in shape.axes().iter().enumerate() {
                    // Straight from the definition, with nothing of the library's arithmetic.
                    let i = (o[a] * axis.stride + k[a] * axis.dilation) as isize
                        - axis.pad_begin as isize;
                    let inside = (0..axis.input as isize).contains(&i);
                    source = source.filter(|_| inside).map(|s| s * axis.input + i as usize);
                }
                let (col, of_image): (_, Box<dyn Fn(usize) -> usize>) = match shape.layout() {
                    Layout::ChannelsFirst => (
                        (channel * taps + tap) * pixels + pixel,
                        Box::new(|s| channel * shape.input_pixels() + s),
                    ),
                    _ => ((pixel * taps + tap) * c + channel, Box::new(|s| s * c + channel)),
                };
                visit(col, source.map(of_image));
            }
        }
    }
}

fn check<T: Element>(params: Params) {
    let shape = Shape::new(params).unwrap();
    let image: Vec<T> = numbers(Fill::Normal, 0, shape.image_len());
    let len = shape.cols_len().unwrap();

    let mut cols = vec![nan::<T>(); len];
    im2col(&shape, &image, &mut cols).unwrap();
    let mut expected = vec![nan::<T>(); len];
    for_cols(&shape, |col, source| expected[col] = source.map_or(T::ZERO, |i| image[i]));
    assert_eq!(bits(&cols), bits(&expected), "im2col of {params:?}");

    let other: Vec<T> = numbers(Fill::Integers, 1, len);
    let old: Vec<T> = numbers(Fill::Integers, 2, shape.image_len());
    let (mut sums, mut sums_onto_old) = (vec![nan::<T>(); old.len()], old.clone());
    col2im(&shape, &other, &mut sums, Write::Overwrite).unwrap();
    col2im(&shape, &other, &mut sums_onto_old, Write::Accumulate).unwrap();
    let mut expected = vec![T::ZERO; old.len()];
    for_cols(&shape, |col, source| {
        if let Some(i) = source {
            expected[i] += other[col];
        }
    });
    assert_eq!(sums, expected, "col2im of {params:?}");
    expected.iter_mut().zip(&old).for_each(|(sum, &old)| *sum += old);
    assert_eq!(sums_onto_old, expected, "col2im onto an image of {params:?}");

    let image: Vec<T> = numbers(Fill::Integers, 3, shape.image_len());
    im2col(&shape, &image, &mut cols).unwrap();
    assert_eq!(dot(&cols, &other), dot(&image, &sums), "adjoints of {params:?}");
}

#[test]
fn cols_is_its_definition_and_col2im_its_adjoint() {
    for_families(12, |params| {
        // The matrix is of one image.
        let params = Params { batch: 1, ..params };
        check::<f32>(params);
        check::<f64>(params);
    });
}

/// The batch has no part in it.
#[test]
fn cols_is_of_one_image() {
    let params = Params { batch: 3, input: [4, 5, 0], kernel: [2, 3, 0], ..Params::default() };
    check::<f32>(params);
}

const V: [f32; 9] = [2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0, 23.0];

/// Rows W1..W4, columns G1..G4.
const COLS: [[f32; 4]; 4] = [
    [V[0], V[1], V[3], V[4]],
    [V[1], V[2], V[4], V[5]],
    [V[3], V[4], V[6], V[7]],
    [V[4], V[5], V[7], V[8]],
];

fn worked_example(layout: Layout) -> Shape {
    let params = Params { layout, input: [3, 3, 0], kernel: [2, 2, 0], ..Params::default() };
    Shape::new(params).unwrap()
}

#[test]
fn worked_example_of_cols() {
    let mut cols = [f32::NAN; 16];
    im2col(&worked_example(Layout::ChannelsFirst), &V, &mut cols).unwrap();
    assert_eq!(cols, *COLS.as_flattened());
    im2col(&worked_example(Layout::ChannelsLast), &V, &mut cols).unwrap();
    // Transposed; this matrix is its own transpose.
    assert_eq!(cols, *COLS.as_flattened());
}

/// Folding the patches back counts every pixel once for each patch that it lies in.
#[test]
fn worked_example_folded_back() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let mut image = [f32::NAN; 9];
        col2im(&worked_example(layout), COLS.as_flattened(), &mut image, Write::Overwrite).unwrap();
        let patches = [1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0];
        assert_eq!(image, core::array::from_fn(|i| V[i] * patches[i]));
    }
}
