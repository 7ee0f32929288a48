//! The textbook on the crate `gemm`: cols written out by `im2col::im2col`, then one product for
//! each group. A second baseline, so that the explicit algorithm isn't judged by one GEMM alone.

use im2col::{Pass, Shape, Write, col2im, im2col};

/// A matrix in a slice: element `(i, j)` lies at `i * row + j * col`.
struct Matrix<S> {
    data: S,
    row: usize,
    col: usize,
}

impl<S> Matrix<S> {
    fn rows(data: S, pitch: usize) -> Self {
        Self { data, row: pitch, col: 1 }
    }

    fn t(self) -> Self {
        Self { data: self.data, row: self.col, col: self.row }
    }

    /// Whether a `rows` x `cols` matrix lies within `len` elements.
    fn fits(&self, rows: usize, cols: usize, len: usize) -> bool {
        (rows - 1) * self.row + (cols - 1) * self.col < len
    }
}

/// `c = a * b`, or `c += a * b`; c is `m` x `n`.
fn multiply(
    [m, k, n]: [usize; 3],
    a: Matrix<&[f32]>,
    b: Matrix<&[f32]>,
    c: Matrix<&mut [f32]>,
    add: bool,
) {
    let fits = a.fits(m, k, a.data.len()) && b.fits(k, n, b.data.len());
    assert!(fits && c.fits(m, n, c.data.len()) && c.row >= n && c.col == 1);
    let [ar, ac, br, bc, cr, cc] = [a.row, a.col, b.row, b.col, c.row, c.col].map(|n| n as isize);
    let (alpha, beta) = (if add { 1.0 } else { 0.0 }, 1.0);
    // SAFETY: the asserts hold every element of the three matrices within their slices, `&mut`
    // keeps c apart from a and b, and no two elements of c are the same.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.data.as_mut_ptr(),
            cc,
            cr,
            add,
            a.data.as_ptr(),
            ac,
            ar,
            b.data.as_ptr(),
            bc,
            br,
            alpha,
            beta,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Elements of scratch: the cols of one image.
pub(crate) fn scratch_len(shape: &Shape) -> usize {
    shape.cols_len().expect("the benches' layers are small")
}

/// Runs a pass, channels first, from its two operands: input, weight or grad_output, in this
/// order.
pub(crate) fn run(
    shape: &Shape,
    pass: Pass,
    [a, b]: [&[f32]; 2],
    to: &mut [f32],
    cols: &mut [f32],
) {
    let (k, patch, pixels) = (shape.group_out(), shape.patch_len(), shape.output_pixels());
    let outputs = shape.out_channels() * pixels;
    for n in 0..shape.batch() {
        let image = n * shape.image_len()..(n + 1) * shape.image_len();
        let output = n * outputs..(n + 1) * outputs;
        match pass {
            Pass::Forward | Pass::BackwardWeight => im2col(shape, &a[image.clone()], cols),
            _ => Ok(()),
        }
        .expect("the shape's own lengths");
        for group in 0..shape.groups() {
            let weight = group * k * patch..(group + 1) * k * patch;
            let cols = &mut cols[group * patch * pixels..][..patch * pixels];
            let part = group * k * pixels..(group + 1) * k * pixels;
            match pass {
                Pass::Forward => {
                    let w = Matrix::rows(&b[weight], patch);
                    let y = Matrix::rows(&mut to[output.clone()][part], pixels);
                    multiply([k, patch, pixels], w, Matrix::rows(&*cols, pixels), y, false);
                }
                Pass::BackwardData => {
                    let w = Matrix::rows(&a[weight], patch).t();
                    let dg = Matrix::rows(&b[output.clone()][part], pixels);
                    multiply([patch, k, pixels], w, dg, Matrix::rows(cols, pixels), false);
                }
                _ => {
                    let dg = Matrix::rows(&b[output.clone()][part], pixels);
                    let dw = Matrix::rows(&mut to[weight], patch);
                    let cols = Matrix::rows(&*cols, pixels).t();
                    multiply([k, pixels, patch], dg, cols, dw, n > 0);
                }
            }
        }
        if pass == Pass::BackwardData {
            col2im(shape, cols, &mut to[image], Write::Overwrite).expect("the shape's own lengths");
        }
    }
}
