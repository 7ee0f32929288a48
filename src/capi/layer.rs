//! What a C plan holds: the layer in either element type, and the threads that it runs on.

use super::boundary::{Buffer, Failure, invalid, unknown};
use super::{
    IM2COL_ALGORITHM_AUTO, IM2COL_ALGORITHM_EXPLICIT, IM2COL_ALGORITHM_IMPLICIT,
    IM2COL_ALGORITHM_TILE, IM2COL_ALGORITHM_TILE2, IM2COL_CHANNELS_FIRST, IM2COL_CHANNELS_LAST,
    IM2COL_F32, IM2COL_F64, im2col_conv_params,
};
use crate::options::Options;
use crate::{
    Accuracy, Algorithm, Element, Error, Layout, Parallelism, Params, Pass, Plan, Shape, Size,
    Write,
};
use std::ffi::c_void;
use std::sync::{PoisonError, RwLock};

/// A layer in the element type that `dtype` names.
pub(super) enum Layer {
    F32(Plans<f32>),
    F64(Plans<f64>),
}

/// One layer for each way in which `im2col_set_num_threads` may ask for it to run.
pub(super) struct Plans<T: 'static> {
    parallel: Plan<T>,
    serial: Plan<T>,
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
        let options = Options { algorithm, accuracy };
        match p.dtype {
            IM2COL_F32 => Plans::new(params, options).map(Layer::F32),
            IM2COL_F64 => Plans::new(params, options).map(Layer::F64),
            found => Err(unknown("dtype", found, "0 (f32) or 1 (f64)")),
        }
    }
}

/// Scratch begins on a cache line, wherever the caller's begins.
const LINE: usize = 64;

impl<T: Element> Plans<T> {
    fn new(params: Params, options: Options) -> Result<Self, Failure> {
        let shape = Shape::new(params)?;
        let plan = |parallelism| Plan::with_options(shape, options, parallelism);
        Ok(Self { parallel: plan(Parallelism::Rayon)?, serial: plan(Parallelism::Serial)? })
    }

    pub(super) fn shape(&self) -> &Shape {
        self.parallel.shape()
    }

    /// A call on the threads that are set now.
    pub(super) fn run<R: Send>(
        &self,
        call: impl FnOnce(&Plan<T>) -> Result<R, Error> + Send,
    ) -> Result<R, Failure> {
        // A copy, so that a long call doesn't hold the lock.
        let threads = THREADS.read().unwrap_or_else(PoisonError::into_inner).clone();
        let result = match threads {
            Threads::EveryCore => call(&self.parallel),
            Threads::Calling => call(&self.serial),
            #[cfg(feature = "rayon")]
            Threads::Pool(pool) => pool.install(|| call(&self.parallel)),
        };
        Ok(result?)
    }

    pub(super) fn im2col(&self, image: &[T], cols: &mut [T]) -> Result<(), Failure> {
        Ok(crate::im2col(self.shape(), image, cols)?)
    }

    pub(super) fn col2im(&self, cols: &[T], image: &mut [T], write: Write) -> Result<(), Failure> {
        Ok(crate::col2im(self.shape(), cols, image, write)?)
    }

    pub(super) fn scratch_bytes(&self, pass: Pass) -> Result<usize, Failure> {
        match self.run(|plan| Ok(plan.scratch_len(pass)))? {
            0 => Ok(0),
            len => {
                let bytes = len.checked_mul(size_of::<T>()).and_then(|n| n.checked_add(LINE));
                let size = Size { what: "scratch", axis: None };
                Ok(bytes.ok_or(Error::Overflow { size })?)
            }
        }
    }

    /// What the caller lends as scratch: nothing if NULL, or if the pass needs nothing.
    pub(super) fn scratch(
        &self,
        pass: Pass,
        data: *mut c_void,
        bytes: usize,
    ) -> Result<Buffer<T>, Failure> {
        let need = self.serial.min_scratch_len(pass);
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
}

/// Where calls run.
#[derive(Clone)]
pub(super) enum Threads {
    /// Rayon's global pool, by default one thread per core.
    EveryCore,
    /// The calling thread, and no other.
    Calling,
    #[cfg(feature = "rayon")]
    Pool(std::sync::Arc<rayon::ThreadPool>),
}

static THREADS: RwLock<Threads> = RwLock::new(Threads::EveryCore);

impl Threads {
    /// More than this is taken for a mistake, such as a negative number.
    const MOST: usize = 1024;

    /// Makes later calls run on a number of threads.
    pub(super) fn set(threads: usize) -> Result<(), Failure> {
        let threads = Self::new(threads)?;
        // Dropped after the lock: the last owner of a pool tells its threads to end.
        let _old = {
            let mut current = THREADS.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, threads)
        };
        Ok(())
    }

    fn new(threads: usize) -> Result<Self, Failure> {
        match threads {
            0 => Ok(Self::EveryCore),
            1 => Ok(Self::Calling),
            2..=Self::MOST => Self::pool(threads),
            _ => Err(unknown("threads", threads, format_args!("at most {}", Self::MOST))),
        }
    }

    #[cfg(feature = "rayon")]
    fn pool(threads: usize) -> Result<Self, Failure> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.map(|pool| Self::Pool(pool.into())).map_err(|error| {
            let message = format_args!("could not start {threads} threads: {error}");
            Failure::new(super::IM2COL_OUT_OF_MEMORY, message)
        })
    }

    /// Without rayon there is only the calling thread, and fewer threads are always allowed.
    #[cfg(not(feature = "rayon"))]
    fn pool(_: usize) -> Result<Self, Failure> {
        Ok(Self::Calling)
    }
}
