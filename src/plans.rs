//! Plans kept for layers that come again.

use crate::element::Element;
use crate::error::Error;
use crate::options::Options;
use crate::plan::Plan;
use crate::shape::{Params, Shape};
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Plans by the sizes of their layers: made when they are first asked for, and kept, up to a bound. For hosts that learn a layer's sizes
/// with each call.
///
/// Any number of threads may ask at once. Where there are more layers than the bound, the one that was asked for longest ago is let go;
/// who still holds its plan keeps it.
///
/// Each plan is chosen by itself. For one layer in batches of many sizes [`Plan::with_batch`] is the better: its plans give an
/// image the same bits and take each other's packed weights, while two entries of a cache may be chosen differently.
///
/// ```
/// use im2col::{Params, Plans};
/// let plans = Plans::<f32>::new();
/// let layer = Params { batch: 8, input: [6, 6, 0], kernel: [3, 3, 0], ..Params::default() };
/// let plan = plans.get(&layer)?;
/// let mut output = vec![0.0; plan.shape().output_len()];
/// plan.forward(&[1.0; 8 * 36], &[1.0; 9]).run(&mut output)?;
/// assert!(std::sync::Arc::ptr_eq(&plan, &plans.get(&layer)?));
/// # Ok::<(), im2col::Error>(())
/// ```
pub struct Plans<T: 'static> {
    options: Options,
    bound: usize,
    /// Counts the calls, so that an entry knows when it was last asked for.
    clock: AtomicU64,
    entries: RwLock<HashMap<Params, Entry<T>, BuildHasherDefault<Mixer>>>,
}

struct Entry<T: 'static> {
    plan: Arc<Plan<T>>,
    last: AtomicU64,
}

impl<T: Element> Default for Plans<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Element> Plans<T> {
    /// Plans that a cache keeps if nothing else is said: more than the layers of most networks, and
    /// a few MiB of tables at most.
    pub const BOUND: usize = 256;

    /// A cache of at most [`BOUND`](Self::BOUND) plans, made with the default options.
    pub fn new() -> Self {
        Self::with(Options::default(), Self::BOUND)
    }

    /// A cache of at most `bound` plans (at least 1), all made with these options.
    pub fn with(options: Options, bound: usize) -> Self {
        let entries = RwLock::default();
        Self { options, bound: bound.max(1), clock: AtomicU64::new(0), entries }
    }

    /// The plan of a layer.
    ///
    /// # Errors
    /// As [`Shape::new`] and [`Plan::new`]; nothing is kept then.
    pub fn get(&self, params: &Params) -> Result<Arc<Plan<T>>, Error> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(params) {
            entry.last.store(now, Ordering::Relaxed);
            return Ok(entry.plan.clone());
        }
        drop(entries);
        // Made without the lock: others go on, and who asks for the same layer meanwhile makes it as well.
        let plan = Arc::new(Plan::new(Shape::new(*params)?, self.options)?);
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(params) {
            return Ok(entry.plan.clone());
        }
        if entries.len() >= self.bound {
            let last = |entry: &Entry<T>| entry.last.load(Ordering::Relaxed);
            let oldest = entries.iter().min_by_key(|(_, entry)| last(entry));
            if let Some(oldest) = oldest.map(|(params, _)| *params) {
                entries.remove(&oldest);
            }
        }
        entries.insert(*params, Entry { plan: plan.clone(), last: AtomicU64::new(now) });
        Ok(plan)
    }

    /// How many plans there are.
    pub fn len(&self) -> usize {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets all plans go.
    pub fn clear(&self) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl<T> fmt::Debug for Plans<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, bound, .. } = self;
        f.debug_struct("Plans")
            .field("options", options)
            .field("bound", bound)
            .finish_non_exhaustive()
    }
}

/// Multiplies and rotates each number into the hash: sizes come from the caller's own program, and the standard hasher
/// would take longer than all the rest of a lookup.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }
}
