//! The patch matrix of any small layer: filters times cols is the output, `col2im` is the adjoint
//! of `im2col`, and accumulating adds to what was there.

#![no_main]

use im2col::testing::{Fill, dot, nan, numbers};
use im2col::{Element, Error, Layout, Params, Shape, Write, col2im, im2col, reference};
use im2col_fuzz::Small;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|small: Small| {
    // The matrix is of one image, and its products are those of one group.
    let params = Params { batch: 1, groups: 1, ..small.params };
    let small = Small { params, ..small };
    if small.double { check::<f64>(&small) } else { check::<f32>(&small) }
});

fn check<T: Element>(small: &Small) {
    let Some(layer) = small.layer::<T>() else { return };
    let (shape, image) = (&layer.shape, layer.input.as_slice());
    let mut cols = vec![nan::<T>(); shape.cols_len().unwrap()];
    im2col(shape, image, &mut cols).unwrap();
    let output = reference::forward(shape, image, &layer.weight, None).unwrap();
    assert_eq!(product(shape, &layer.weight, &cols), output, "{shape:?}");

    let other: Vec<T> = numbers(Fill::Integers, 1, cols.len());
    let mut sums = vec![nan::<T>(); image.len()];
    col2im(shape, &other, &mut sums, Write::Overwrite).unwrap();
    assert_eq!(dot(&cols, &other), dot(image, &sums), "{shape:?}");
    let mut onto = image.to_vec();
    col2im(shape, &other, &mut onto, Write::Accumulate).unwrap();
    let added = (0..onto.len()).all(|i| onto[i] == image[i] + sums[i]);
    assert!(added, "{shape:?}");

    let before = onto.clone();
    let short = col2im(shape, &other[1..], &mut onto, Write::Overwrite);
    assert!(matches!(short, Err(Error::Length { what: "cols", .. })));
    assert_eq!(onto, before, "written on error");
}

/// Filters times cols, by the documented order of both.
fn product<T: Element>(shape: &Shape, weight: &[T], cols: &[T]) -> Vec<f64> {
    let (patch, pixels) = (shape.patch_len(), shape.output_pixels());
    let filters = shape.out_channels();
    let mut output = vec![0.0; filters * pixels];
    for k in 0..filters {
        for pixel in 0..pixels {
            let place = |tap: usize| match shape.layout() {
                Layout::ChannelsFirst => tap * pixels + pixel,
                _ => pixel * patch + tap,
            };
            let terms = (0..patch).map(|tap| {
                Into::<f64>::into(weight[k * patch + tap]) * Into::<f64>::into(cols[place(tap)])
            });
            let o = match shape.layout() {
                Layout::ChannelsFirst => k * pixels + pixel,
                _ => pixel * filters + k,
            };
            output[o] = terms.sum();
        }
    }
    output
}
