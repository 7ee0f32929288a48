//! The C interface: every kind of bad argument is refused and nothing is written; threads and
//! scratch change no bit; `examples/conv.c` compiles, links with both libraries and runs.
#![allow(unsafe_code, reason = "calls the C interface as C does")]

use im2col::capi::*;
use std::ffi::{CStr, c_void};
use std::ptr::{null, null_mut};
use std::sync::{Mutex, PoisonError};

/// The number of threads belongs to the whole process: tests that set it, or that need it to
/// stay, take turns.
static THREADS: Mutex<()> = Mutex::new(());

fn last_error() -> String {
    // SAFETY: a string that lives until this thread's next failing call; copied before that.
    unsafe { CStr::from_ptr(im2col_last_error()) }.to_str().unwrap().to_owned()
}

/// Two images of 4 channels and 8x8 pixels under 6 filters of 3x3, padded by 1, in 2 groups.
fn params() -> im2col_conv_params {
    im2col_conv_params {
        spatial_dims: 2,
        dtype: IM2COL_F32,
        layout: IM2COL_CHANNELS_FIRST,
        algorithm: IM2COL_ALGORITHM_AUTO,
        batch: 2,
        in_channels: 4,
        out_channels: 6,
        groups: 2,
        input: [8, 8, usize::MAX], // what lies past `spatial_dims` is ignored
        kernel: [3, 3, 0],
        stride: [1, 1, 0],
        dilation: [1, 1, 0],
        pad_begin: [1, 1, usize::MAX],
        pad_end: [1, 1, usize::MAX],
    }
}
const INPUT: usize = 2 * 4 * 8 * 8;
const WEIGHT: usize = 6 * 2 * 3 * 3;
const OUTPUT: usize = 2 * 6 * 8 * 8;
const COLS: usize = 4 * 9 * 64;

struct Conv(*mut im2col_conv);

impl Conv {
    fn new(params: &im2col_conv_params) -> Result<Self, im2col_status> {
        let mut conv = std::ptr::dangling_mut();
        // SAFETY: both pointers come from references.
        match unsafe { im2col_conv_create(params, &mut conv) } {
            IM2COL_OK => Ok(Self(conv)),
            status => {
                assert!(conv.is_null(), "a failed create must leave NULL");
                Err(status)
            }
        }
    }

    fn scratch_bytes(&self, pass: i32) -> usize {
        let mut bytes = 0;
        // SAFETY: a live plan and a reference.
        assert_eq!(unsafe { im2col_conv_scratch_bytes(self.0, pass, &mut bytes) }, IM2COL_OK);
        bytes
    }

    /// The three passes with scratch, one after the other: output, grad_input, grad_weight.
    fn passes(&self, scratch: *mut c_void, bytes: usize) -> [Vec<f32>; 3] {
        let (x, w, dg) = (numbers(INPUT), numbers(WEIGHT), numbers(OUTPUT));
        let (mut y, mut dx, mut dw) = (vec![f32::NAN; OUTPUT], x.clone(), w.clone());
        let [x, w, dg] = [&x, &w, &dg].map(|s| s.as_ptr().cast::<c_void>());
        let [y_, dx_, dw_] = [&mut y, &mut dx, &mut dw].map(|s| s.as_mut_ptr().cast::<c_void>());
        // SAFETY: a live plan; tensors of its lengths; `scratch` is NULL or has `bytes` bytes.
        let status = unsafe {
            [
                im2col_conv_forward(self.0, x, w, null(), y_, scratch, bytes),
                im2col_conv_backward_data(self.0, w, dg, dx_, IM2COL_ACCUMULATE, scratch, bytes),
                im2col_conv_backward_weight(self.0, x, dg, dw_, IM2COL_ACCUMULATE, scratch, bytes),
            ]
        };
        assert_eq!(status, [IM2COL_OK; 3], "{}", last_error());
        [y, dx, dw]
    }
}

impl Drop for Conv {
    fn drop(&mut self) {
        // SAFETY: from `im2col_conv_create`, once.
        unsafe { im2col_conv_destroy(self.0) }
    }
}

fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919) % 1009) as f32 / 503.0 - 1.0).collect()
}

#[test]
fn bad_layers() {
    let huge = usize::MAX / 2 + 1;
    type Spoil = fn(&mut im2col_conv_params, usize);
    let cases: [(&str, im2col_status, Spoil); 19] = [
        ("0 spatial axes", 1, |p, _| p.spatial_dims = 0),
        ("4 spatial axes", 1, |p, _| p.spatial_dims = 4),
        ("4294967295 spatial axes", 1, |p, _| p.spatial_dims = u32::MAX),
        ("dtype is 2: it must be 0 (f32) or 1 (f64)", 1, |p, _| p.dtype = 2),
        ("layout is 2: it must be", 1, |p, _| p.layout = 2),
        ("algorithm is 5: it must be", 1, |p, _| p.algorithm = 5),
        ("out_channels is 0", 1, |p, _| p.out_channels = 0),
        ("groups is 0", 1, |p, _| p.groups = 0),
        ("4 can't be split into 3 groups", 1, |p, _| p.groups = 3),
        ("the padded input has 2", 1, |p, _| p.input[0] = 0),
        ("kernel of axis 1 is 0", 1, |p, _| p.kernel[1] = 0),
        ("stride of axis 1 is 0", 1, |p, _| p.stride[1] = 0),
        ("dilation of axis 0 is 0", 1, |p, _| p.dilation[0] = 0),
        ("spans 11 elements", 1, |p, _| p.kernel[1] = 11),
        ("input is too large", 2, |p, huge| p.batch = huge),
        ("padded input of axis 0 is too large", 2, |p, huge| p.pad_end[0] = huge),
        ("padded input of axis 1 is too large", 2, |p, _| p.pad_begin[1] = usize::MAX),
        ("dilated kernel of axis 0 is too large", 2, |p, huge| p.dilation[0] = huge),
        ("dilated kernel of axis 0 is too large", 2, |p, huge| {
            (p.kernel[0], p.dilation[0]) = (huge + 1, 2)
        }),
    ];
    for (message, status, spoil) in cases {
        let mut params = params();
        spoil(&mut params, huge);
        assert_eq!(Conv::new(&params).err(), Some(status), "{message}");
        assert!(last_error().contains(message), "{:?} lacks {message:?}", last_error());
    }
    // A stride or dilation that is never stepped may have any size.
    let params = im2col_conv_params {
        kernel: [1; 3],
        stride: [usize::MAX; 3],
        dilation: [usize::MAX; 3],
        ..params()
    };
    let conv = Conv::new(&params).unwrap();
    let mut output = [0, 0, 77];
    // SAFETY: a live plan and room for 3 sizes.
    assert_eq!(unsafe { im2col_conv_output(conv.0, output.as_mut_ptr()) }, IM2COL_OK);
    assert_eq!(output, [1, 1, 77]);
}

#[test]
fn bad_pointers_and_numbers() {
    let _turn = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    let conv = Conv::new(&params()).unwrap();
    // Every tensor is as long as the longest, and one element longer for the misaligned.
    let tensors = [1.0f32, 2.0, 3.0].map(|x| vec![x; COLS + 1]);
    let [a, b, c] = tensors.each_ref().map(|t| t.as_ptr().cast::<c_void>());
    let mut out = vec![77.0f32; COLS + 1];
    let o = out.as_mut_ptr().cast::<c_void>();
    let odd = |p: *const c_void| p.wrapping_byte_add(2);
    // The last element of an input at `o`, and of an output.
    let [last_in, last_out] = [INPUT, OUTPUT].map(|len| o.wrapping_byte_add(4 * (len - 1)));
    let mut small = [0.0f32; 64];
    let s = small.as_mut_ptr().cast::<c_void>();
    let (h, n) = (conv.0, null_mut());
    let (odd_h, odd_o) = (h.wrapping_byte_add(1), o.wrapping_byte_add(1));
    let z = null();
    let mut bytes = 77usize;
    let odd_bytes = (&raw mut bytes).wrapping_byte_add(1);
    // SAFETY: a live plan; tensors that are NULL, misaligned or long enough; scratch is NULL or
    // `s` with no more than its bytes.
    let results = unsafe {
        use {
            im2col_col2im as col2im, im2col_conv_backward_bias as bias,
            im2col_conv_backward_data as data, im2col_conv_backward_weight as weight,
            im2col_conv_forward as forward, im2col_im2col as im2col,
        };
        // The message is taken right after each call, before the next replaces it.
        let m = |status: im2col_status, wanted: &'static str| (status, last_error(), wanted);
        vec![
            m(forward(null(), a, b, z, o, n, 0), "conv is NULL"),
            m(forward(odd_h, a, b, z, o, n, 0), "conv is 0x"),
            m(forward(h, z, b, z, o, n, 0), "input is NULL"),
            m(forward(h, a, z, z, o, n, 0), "weight is NULL"),
            m(forward(h, a, b, z, n, n, 0), "output is NULL"),
            m(forward(h, odd(a), b, z, o, n, 0), "must be aligned to 4 bytes"),
            m(forward(h, a, odd(b), z, o, n, 0), "weight is 0x"),
            m(forward(h, a, b, odd(c), o, n, 0), "bias is 0x"),
            m(forward(h, a, b, z, odd_o, n, 0), "output is 0x"),
            m(forward(h, o, b, z, o, n, 0), "output and input share memory"),
            m(forward(h, o, b, z, last_in, n, 0), "output and input share memory"),
            m(forward(h, last_out, b, z, o, n, 0), "output and input share memory"),
            m(forward(h, a, b, o, o, n, 0), "output and bias share memory"),
            m(forward(h, a, b, z, o, o, 1 << 20), "output and scratch share memory"),
            m(forward(h, a, b, z, o, s, 0), "scratch has 0 bytes"),
            m(forward(h, a, b, z, o, s, 64), "scratch has 64 bytes"),
            m(data(h, z, b, o, 0, n, 0), "weight is NULL"),
            m(data(h, a, z, o, 0, n, 0), "grad_output is NULL"),
            m(data(h, a, b, n, 0, n, 0), "grad_input is NULL"),
            m(data(h, a, b, o, 2, n, 0), "mode is 2: it must be 0 (overwrite) or 1 (accumulate)"),
            m(data(h, a, b, o, i32::MIN, n, 0), "mode is -2147483648"),
            m(data(h, a, b, o, 0, s, 64), "scratch has 64 bytes"),
            m(data(h, o, b, o, 0, n, 0), "grad_input and weight share memory"),
            m(weight(h, z, b, o, 0, n, 0), "input is NULL"),
            m(weight(h, a, z, o, 0, n, 0), "grad_output is NULL"),
            m(weight(h, a, b, n, 0, n, 0), "grad_weight is NULL"),
            m(weight(h, a, b, o, -1, n, 0), "mode is -1"),
            m(weight(h, a, b, o, 0, s, 1), "scratch has 1 byte:"),
            m(bias(h, z, o, 0), "grad_output is NULL"),
            m(bias(h, a, n, 0), "grad_bias is NULL"),
            m(bias(h, a, o, 3), "mode is 3"),
            m(bias(h, a, odd_o, 0), "grad_bias is 0x"),
            m(im2col(h, z, o), "image is NULL"),
            m(im2col(h, a, n), "cols is NULL"),
            m(im2col(h, o, o), "cols and image share memory"),
            m(im2col(null(), a, o), "conv is NULL"),
            m(col2im(h, z, o, 0), "cols is NULL"),
            m(col2im(h, a, n, 0), "image is NULL"),
            m(col2im(h, a, o, 9), "mode is 9"),
            m(im2col_conv_output(h, null_mut()), "output is NULL"),
            m(im2col_conv_output(null(), &mut bytes), "conv is NULL"),
            m(im2col_conv_scratch_bytes(h, 3, &mut bytes), "pass is 3: it must be"),
            m(im2col_conv_scratch_bytes(h, -1, &mut bytes), "pass is -1"),
            m(im2col_conv_scratch_bytes(h, 0, null_mut()), "bytes is NULL"),
            m(im2col_conv_scratch_bytes(h, 0, odd_bytes), "bytes is 0x"),
            m(im2col_conv_scratch_bytes(null(), 0, &mut bytes), "conv is NULL"),
            m(im2col_conv_create(&params(), null_mut()), "conv is NULL"),
            m(im2col_set_num_threads(usize::MAX), "it must be at most 1024"),
        ]
    };
    for (status, message, wanted) in results {
        assert_eq!(status, IM2COL_INVALID_ARGUMENT, "{wanted}");
        assert!(message.contains(wanted), "{message:?} lacks {wanted:?}");
    }
    assert!(out.iter().all(|&x| x == 77.0) && bytes == 77, "a refused call wrote");

    let mut made = h;
    // SAFETY: NULL is refused; `made` is a reference; `h` stays with `conv`.
    assert_eq!(unsafe { im2col_conv_create(null(), &mut made) }, IM2COL_INVALID_ARGUMENT);
    assert!(made.is_null() && last_error().contains("params is NULL"));
    // SAFETY: NULL is fine.
    unsafe { im2col_conv_destroy(null_mut()) }
}

#[test]
fn each_thread_has_its_own_last_error() {
    let fail = |stride| {
        std::thread::spawn(move || {
            assert_eq!(last_error(), "", "a thread begins without an error");
            assert!(Conv::new(&im2col_conv_params { stride, ..params() }).is_err());
            Conv::new(&params()).unwrap(); // success leaves the message alone
            last_error()
        })
    };
    let (first, second) = (fail([0, 1, 1]), fail([1, 0, 1]));
    assert!(first.join().unwrap().starts_with("stride of axis 0 is 0"));
    assert!(second.join().unwrap().starts_with("stride of axis 1 is 0"));
}

#[test]
fn threads_and_scratch_change_no_bit() {
    let _turn = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    let conv = Conv::new(&params()).unwrap();
    let wanted = conv.passes(null_mut(), usize::MAX);
    for threads in [1, 2, 3, 3, 0] {
        assert_eq!(im2col_set_num_threads(threads), IM2COL_OK);
        assert_eq!(conv.passes(null_mut(), 0), wanted, "{threads} threads");
        let bytes = (0..3).map(|pass| conv.scratch_bytes(pass)).max().unwrap();
        for offset in [0, 1, 63] {
            let mut scratch = vec![0xFFu8; bytes + offset]; // NaNs
            let start = scratch[offset..].as_mut_ptr().cast();
            assert_eq!(conv.passes(start, bytes), wanted, "{threads} threads, offset {offset}");
        }
    }
    // What serves one thread serves two.
    im2col_set_num_threads(1);
    let bytes = (0..3).map(|pass| conv.scratch_bytes(pass)).max().unwrap();
    im2col_set_num_threads(2);
    let mut scratch = vec![0xFFu8; bytes];
    assert_eq!(conv.passes(scratch.as_mut_ptr().cast(), bytes), wanted);
    im2col_set_num_threads(0);
}

/// Every call on buffers that end, and on others that begin, where memory does, in scratch of no more
/// bytes than it needs: nothing outside is touched, and the answers are right. A byte less is refused.
#[cfg(unix)]
fn check_guarded<T: im2col::Element>(dtype: u32) {
    use im2col::testing::{Call, EDGES, Edge, Fill, Guarded, Layer, Tolerance, nan};
    use im2col::{Algorithm, Params, Pass, Plan, Write};
    for (layout, groups) in [(0, 2), (1, 2), (0, 1), (1, 1)] {
        let c = im2col_conv_params { dtype, layout, groups, stride: [2, 1, 0], ..params() };
        let conv = Conv::new(&c).unwrap();
        let layout = [im2col::Layout::ChannelsFirst, im2col::Layout::ChannelsLast][layout as usize];
        let layer = Layer::<T>::new(
            Params {
                layout,
                groups,
                batch: c.batch,
                in_channels: c.in_channels,
                out_channels: c.out_channels,
                input: [8, 8, 1],
                kernel: [3, 3, 1],
                stride: [2, 1, 1],
                pad_begin: [1, 1, 0],
                pad_end: [1, 1, 0],
                ..Params::default()
            },
            Fill::Integers,
        );
        let plan = Plan::<T>::new(layer.shape, Algorithm::Auto.into()).unwrap();
        let size = size_of::<T>();
        for edge in EDGES {
            let guarded = |tensor: &[T]| Guarded::new(edge, tensor);
            let (x, w) = (guarded(&layer.input), guarded(&layer.weight));
            let (b, g) = (guarded(&layer.bias), guarded(&layer.grad_output));
            let [x, w, b, g] = [&x, &w, &b, &g].map(|t| t.as_ptr().cast::<c_void>());
            for (pass, write) in im2col::testing::calls() {
                let expected = layer.expected(Call::Pass(pass, write));
                // So long that, from the first cache line on, one thread has what it needs.
                let need = plan.min_scratch_len(pass);
                let slack = if edge == Edge::End { 64 / size } else { 0 };
                let mut scratch = guarded(&vec![nan(); need + slack]);
                let (s, bytes) = (scratch.as_mut_ptr().cast::<c_void>(), scratch.len() * size);
                let least = need * size + s.cast::<u8>().align_offset(64);
                let mode = i32::from(write == Write::Accumulate);
                let bias = if mode == 1 { b } else { null() };
                let call = |o: *mut c_void, bytes| {
                    let h = conv.0;
                    // SAFETY: a live plan; tensors and scratch of its lengths.
                    unsafe {
                        match pass {
                            Pass::Forward => im2col_conv_forward(h, x, w, bias, o, s, bytes),
                            Pass::BackwardData => {
                                im2col_conv_backward_data(h, w, g, o, mode, s, bytes)
                            }
                            _ => im2col_conv_backward_weight(h, x, g, o, mode, s, bytes),
                        }
                    }
                };
                for bytes in [bytes, least] {
                    let mut to = guarded(&layer.before(pass, write));
                    let status = call(to.as_mut_ptr().cast(), bytes);
                    assert_eq!(status, IM2COL_OK, "{}", last_error());
                    expected.assert_close("the C interface", &to, Tolerance::Exact);
                }
                if need > 0 {
                    let mut to = guarded(&layer.before(pass, write));
                    let status = call(to.as_mut_ptr().cast(), least - 1);
                    assert_eq!(status, IM2COL_INVALID_ARGUMENT, "{pass:?} with {least} - 1 bytes");
                }
            }
            for write in im2col::testing::WRITES {
                let (expected, mode) = (layer.expected(Call::Bias(write)), write as i32);
                let mut db = guarded(&layer.old[..c.out_channels]);
                let to = db.as_mut_ptr().cast();
                // SAFETY: as above.
                assert_eq!(unsafe { im2col_conv_backward_bias(conv.0, g, to, mode) }, IM2COL_OK);
                expected.assert_close("the C interface", &db, Tolerance::Exact);
            }
            let image = &layer.input[..layer.shape.image_len()];
            let mut cols = guarded(&vec![nan(); layer.shape.cols_len().unwrap()]);
            let mut sums = guarded(image);
            let (from, to) = (guarded(image), cols.as_mut_ptr().cast::<c_void>());
            let (back, add) = (sums.as_mut_ptr().cast(), IM2COL_ACCUMULATE);
            // SAFETY: as above.
            let status = unsafe {
                let there = im2col_im2col(conv.0, from.as_ptr().cast(), to);
                [there, im2col_col2im(conv.0, to, back, add)]
            };
            assert_eq!(status, [IM2COL_OK; 2], "{}", last_error());
            let (mut wanted, overwrite) = (vec![nan(); cols.len()], Write::Overwrite);
            im2col::im2col(&layer.shape, image, &mut wanted).unwrap();
            assert!(*cols == wanted);
            let mut wanted = vec![nan(); image.len()];
            im2col::col2im(&layer.shape, &cols, &mut wanted, overwrite).unwrap();
            wanted.iter_mut().zip(image).for_each(|(sum, &x)| *sum += x);
            assert!(*sums == wanted, "col2im adds");
        }
    }
}

#[test]
#[cfg(unix)]
fn calls_touch_nothing_outside_their_buffers() {
    let _turn = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    check_guarded::<f32>(IM2COL_F32);
    check_guarded::<f64>(IM2COL_F64);
}

#[test]
fn doubles_and_channels_last() {
    let params = im2col_conv_params {
        dtype: IM2COL_F64,
        layout: IM2COL_CHANNELS_LAST,
        batch: 1,
        in_channels: 2,
        out_channels: 1,
        groups: 1,
        spatial_dims: 1,
        input: [2, 0, 0],
        kernel: [2, 0, 0],
        pad_begin: [0; 3],
        pad_end: [0; 3],
        ..params()
    };
    let conv = Conv::new(&params).unwrap();
    let (x, w, bias, mut y) = ([1.0f64, 2.0, 3.0, 4.0], [1.0f64, 10.0, 100.0, 1000.0], 0.5, 0.0);
    let (mut cols, mut image) = ([0.0f64; 4], [1.0f64; 4]);
    // SAFETY: a live plan; arrays of the layer's lengths.
    let status = unsafe {
        [
            im2col_conv_forward(
                conv.0,
                x.as_ptr().cast(),
                w.as_ptr().cast(),
                (&raw const bias).cast(),
                (&raw mut y).cast(),
                null_mut(),
                0,
            ),
            im2col_im2col(conv.0, x.as_ptr().cast(), cols.as_mut_ptr().cast()),
            im2col_col2im(conv.0, cols.as_ptr().cast(), image.as_mut_ptr().cast(), 1),
        ]
    };
    assert_eq!(status, [IM2COL_OK; 3], "{}", last_error());
    assert_eq!((y, cols, image), (4321.5, x, [2.0, 3.0, 4.0, 5.0]));
}

#[cfg(unix)]
mod from_c {
    use std::env;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    fn run(command: &mut Command) {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (out, err) = (output.stdout, output.stderr);
        let (out, err) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
        assert!(output.status.success(), "{command:?}\n{out}{err}");
    }

    fn compiler(variable: &str, usual: &str) -> Command {
        let mut compiler = Command::new(env::var(variable).unwrap_or(usual.into()));
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        compiler.current_dir(root).args(["-Wall", "-Wextra", "-Werror", "-Iinclude"]);
        compiler
    }

    /// Builds both libraries apart from the build under way, whose folder may be locked.
    fn libraries() -> PathBuf {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi");
        run(Command::new(env::var("CARGO").unwrap_or("cargo".into()))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["build", "-p", "im2col-capi", "--features", "capi", "--target-dir"])
            .arg(&target));
        target.join("debug")
    }

    #[test]
    fn example_runs_with_both_libraries() {
        let prefix = Path::new(env!("CARGO_TARGET_TMPDIR")).join("installed");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        run(Command::new("sh").arg(root.join("capi/install")).arg(&prefix).arg(libraries()));
        let libraries = prefix.join("lib");
        let said = std::fs::read_to_string(libraries.join("pkgconfig/im2col.pc")).unwrap();
        assert!(said.contains(&format!("Version: {}", env!("CARGO_PKG_VERSION"))), "{said}");
        assert!(said.contains(prefix.to_str().unwrap()), "{said}");
        let shared = if cfg!(target_os = "macos") { "libim2col.dylib" } else { "libim2col.so" };
        // Programs of the first header, and of this one.
        for source in ["examples/conv.c", "tests/c/old.c", "tests/c/new.c"] {
            for library in ["libim2col.a", shared] {
                let name = Path::new(source).file_stem().unwrap().to_str().unwrap();
                let program = libraries.join(format!("{name}-{library}.bin"));
                run(compiler("CC", "cc")
                    .args(["-std=c99", "-pedantic", "-Itests/c", source, "-o"])
                    .arg(&program)
                    .arg(libraries.join(library))
                    .args(["-lpthread", "-ldl", "-lm"]));
                let paths = ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"].map(|name| (name, &libraries));
                run(Command::new(&program).envs(paths));
            }
        }
    }

    #[test]
    fn header_is_cpp() {
        if Command::new("c++").arg("--version").output().is_err() {
            eprintln!("skipped: no C++ compiler");
            return;
        }
        let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join("header.cpp");
        let text = "#include \"im2col.h\"\nint main() { return im2col_version()[0] == 0; }\n";
        std::fs::write(&source, text).unwrap();
        run(compiler("CXX", "c++").args(["-pedantic", "-fsyntax-only"]).arg(&source));
    }
}
