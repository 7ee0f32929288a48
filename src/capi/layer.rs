//! What a C plan holds: the layer in either element type; and the threads that calls run on.

use super::boundary::{Buffer, Failure, invalid, unknown};
use super::{
    IM2COL_ALGORITHM_AUTO, IM2COL_ALGORITHM_EXPLICIT, IM2COL_ALGORITHM_IMPLICIT,
    IM2COL_ALGORITHM_TILE, IM2COL_ALGORITHM_TILE2, IM2COL_CHANNELS_FIRST, IM2COL_CHANNELS_LAST,
    IM2COL_F32, IM2COL_F64, im2col_conv_params,
};
use crate::parallel::DEFAULT;
#[cfg(feature = "rayon")]
use crate::parallel::pools::Owned;
use crate::{
    Accuracy, Algorithm, Element, Error, Executor, Layout, Options, Params, Pass, Plan, Serial,
    Shape, Size, Write,
};
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A layer in the element type that `dtype` names.
pub(super) enum Layer {
    F32(Plan<f32>),
    F64(Plan<f64>),
}

impl Layer {
    pub(super) fn new(p: im2col_conv_params) -> Result<Self, Failure> {
        let layout = match p.layout {
            IM2COL_CHANNELS_FIRST => Layout::ChannelsFirst,
            IM2COL_CHANNELS_LAST => Layout::ChannelsLast,
            found => return Err(unknown("layout", found, "0 (channels first) or 1 (last)")),
        };
        let (algorithm, accuracy) = match p.algorithm {
            IM2COL_ALGORITHM_AUTO => (Algorithm::Auto, Accuracy::Element),
            IM2COL_ALGORITHM_EXPLICIT => (Algorithm::Explicit, Accuracy::Element),
            IM2COL_ALGORITHM_IMPLICIT => (Algorithm::Implicit, Accuracy::Element),
            IM2COL_ALGORITHM_TILE2 => (Algorithm::Auto, Accuracy::Tile2),
            IM2COL_ALGORITHM_TILE => (Algorithm::Auto, Accuracy::Tile),
            found => {
                let allowed = "0 (auto), 1 (explicit), 2 (implicit), 3 (tile2) or 4 (tile)";
                return Err(unknown("algorithm", found, allowed));
            }
        };
        let params = Params {
            axes: p.spatial_dims as usize,
            layout,
            batch: p.batch,
            in_channels: p.in_channels,
            out_channels: p.out_channels,
            groups: p.groups,
            input: p.input,
            kernel: p.kernel,
            stride: p.stride,
            dilation: p.dilation,
            pad_begin: p.pad_begin,
            pad_end: p.pad_end,
        };
        let options = Options::default().algorithm(algorithm).accuracy(accuracy);
        match p.dtype {
            IM2COL_F32 => Ok(Layer::F32(Plan::new(Shape::new(params)?, options)?)),
            IM2COL_F64 => Ok(Layer::F64(Plan::new(Shape::new(params)?, options)?)),
            found => Err(unknown("dtype", found, "0 (f32) or 1 (f64)")),
        }
    }
}

/// Scratch begins on a cache line, wherever the caller's begins.
const LINE: usize = 64;

/// Bytes of scratch that a call of a plan can use with the threads that are set now.
pub(super) fn scratch_bytes<T: Element>(plan: &Plan<T>, pass: Pass) -> Result<usize, Failure> {
    match plan.scratch_len_on(pass, &Threads) {
        0 => Ok(0),
        len => {
            let bytes = len.checked_mul(size_of::<T>()).and_then(|n| n.checked_add(LINE));
            let size = Size { what: "scratch", axis: None };
            Ok(bytes.ok_or(Error::Overflow { size })?)
        }
    }
}

/// What the caller lends as scratch: nothing if NULL, or if the pass needs nothing.
pub(super) fn scratch<T: Element>(
    plan: &Plan<T>,
    pass: Pass,
    data: *mut c_void,
    bytes: usize,
) -> Result<Buffer<T>, Failure> {
    let need = plan.min_scratch_len(pass);
    if data.is_null() || need == 0 {
        return Ok(Buffer::none());
    }
    let skipped = data.cast::<u8>().align_offset(LINE);
    // No memory is larger than isize::MAX bytes, whatever the caller says.
    let len = bytes.min(isize::MAX as usize).saturating_sub(skipped) / size_of::<T>();
    if len < need {
        let least = need.saturating_mul(size_of::<T>()).saturating_add(skipped);
        return Err(invalid(format_args!(
            "scratch has {bytes} bytes: at this address one thread needs at least {least}"
        )));
    }
    Buffer::new("scratch", data.wrapping_byte_add(skipped), len)
}

/// The patch matrix of an image of the plan's layer.
pub(super) fn im2col<T: Element>(
    plan: &Plan<T>,
    image: &[T],
    cols: &mut [T],
) -> Result<(), Failure> {
    Ok(crate::im2col(plan.shape(), image, cols)?)
}

/// Its adjoint.
pub(super) fn col2im<T: Element>(
    plan: &Plan<T>,
    cols: &[T],
    image: &mut [T],
    write: Write,
) -> Result<(), Failure> {
    Ok(crate::col2im(plan.shape(), cols, image, write)?)
}

/// The threads that `im2col_set_num_threads` has set last.
pub(super) struct Threads;

/// How many: 0 is rayon's global pool.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The pool of so many, of this process.
#[cfg(feature = "rayon")]
static POOL: Owned = Owned::new();

impl Threads {
    /// More than this is taken for a mistake, such as a negative number.
    const MOST: usize = 1024;

    /// Makes later calls run on a number of threads. Calls under way keep theirs.
    pub(super) fn set(threads: usize) -> Result<(), Failure> {
        if threads > Self::MOST {
            return Err(unknown("threads", threads, format_args!("at most {}", Self::MOST)));
        }
        #[cfg(feature = "rayon")]
        POOL.set(Some(threads).filter(|&threads| threads > 1)).map_err(|error| {
            let message = format_args!("could not start {threads} threads: {error}");
            Failure::new(super::IM2COL_OUT_OF_MEMORY, message)
        })?;
        THREADS.store(threads, Ordering::Release);
        Ok(())
    }

    /// Calls `on` with the threads that are set now.
    fn with<R>(&self, on: impl FnOnce(&dyn Executor) -> R) -> R {
        match THREADS.load(Ordering::Acquire) {
            0 => on(&DEFAULT),
            #[cfg(feature = "rayon")]
            threads if threads > 1 => match POOL.get(threads) {
                Some(pool) => on(&*pool),
                None => on(&Serial),
            },
            _ => on(&Serial),
        }
    }
}

impl Executor for Threads {
    fn workers(&self) -> usize {
        self.with(|executor| executor.workers())
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        self.with(|executor| executor.run(jobs, job));
    }

    fn enter(&self, call: &mut (dyn FnMut() + Send)) {
        self.with(|executor| executor.enter(call));
    }
}
