//! Weights that stay as they are, packed once for each layer that uses them.
//!
//! A weight is known by the address of its elements. An entry keeps that storage from being freed, so that no other
//! tensor can get the address while the entry is there, and remembers the version that PyTorch counts up whenever an
//! operator writes into the tensor: with another version, the weight is packed anew.

use crate::abi::{VERSION, abi};
use crate::call::Float;
use crate::tensor::Tensor;
use im2col::{Accuracy, Error, PackedWeight, Params, Pass, Plan};
use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// Layers for which one weight is kept packed; the one that came first goes first.
const MOST_LAYERS: usize = 4;

/// A pass of a layer, and whether its plan is for inference.
type Key = (Params, Pass, Accuracy, bool);

struct Entry {
    /// Shares the weight's storage.
    _storage: Tensor,
    version: i64,
    packed: Vec<(Key, Arc<dyn Any + Send + Sync>)>,
}

static FROZEN: LazyLock<Mutex<HashMap<usize, Entry>>> = LazyLock::new(Mutex::default);

/// How many entries there are: a look that costs nothing where nobody freezes anything.
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn entries() -> MutexGuard<'static, HashMap<usize, Entry>> {
    FROZEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets a weight be packed from its next use on.
pub(crate) fn freeze(weight: &Tensor) -> Result<(), String> {
    let entry = Entry { _storage: weight.alias()?, version: version(weight)?, packed: Vec::new() };
    let mut entries = entries();
    entries.insert(weight.address(), entry);
    COUNT.store(entries.len(), Relaxed);
    Ok(())
}

/// Forgets a weight.
pub(crate) fn thaw(address: usize) {
    let mut entries = entries();
    let entry = entries.remove(&address);
    COUNT.store(entries.len(), Relaxed);
    drop(entries);
    // Freeing the storage may run code of PyTorch's: not under the lock.
    drop(entry);
}

/// Weights frozen, and layers that they are packed for.
pub(crate) fn counts() -> [usize; 2] {
    let entries = entries();
    [entries.len(), entries.values().map(|entry| entry.packed.len()).sum()]
}

/// Whether a weight is frozen.
pub(crate) fn is_frozen(weight: &Tensor) -> bool {
    COUNT.load(Relaxed) != 0 && entries().contains_key(&weight.address())
}

/// The weight packed for a pass of a plan, where it is frozen.
pub(crate) fn packed<T: Float>(
    plan: &Plan<T>,
    pass: Pass,
    weight: &Tensor,
) -> Result<Option<Arc<PackedWeight<T>>>, String> {
    if COUNT.load(Relaxed) == 0 {
        return Ok(None);
    }
    let address = weight.address();
    let options = plan.options();
    let key = (*plan.shape().params(), pass, options.accuracy, options.inference);
    if !entries().contains_key(&address) {
        return Ok(None);
    }
    let version = version(weight)?;
    {
        let mut entries = entries();
        let Some(entry) = entries.get_mut(&address) else { return Ok(None) };
        if entry.version != version {
            entry.version = version;
            entry.packed.clear();
        }
        let found = entry.packed.iter().find(|(k, _)| *k == key);
        if let Some((_, value)) = found {
            return Ok(Arc::clone(value).downcast().ok());
        }
    }
    let dense = weight.share()?.dense(plan.shape().layout())?;
    let packed = plan.pack_weight(pass, dense.elements_of());
    let packed = Arc::new(packed.map_err(|error: Error| format!("im2col: {error}"))?);
    let mut entries = entries();
    if let Some(entry) = entries.get_mut(&address).filter(|entry| entry.version == version) {
        if entry.packed.len() == MOST_LAYERS {
            entry.packed.remove(0);
        }
        entry.packed.push((key, packed.clone()));
    }
    Ok(Some(packed))
}

/// How often operators have written into a tensor.
fn version(weight: &Tensor) -> Result<i64, String> {
    let mut stack = [weight.share()?.into_value()];
    // SAFETY: strings that end in 0; the stack holds the operator's argument, owned.
    let status = unsafe {
        (abi().torch_call_dispatcher)(
            c"aten::_version".as_ptr(),
            c"".as_ptr(),
            stack.as_mut_ptr(),
            VERSION,
        )
    };
    if status != 0 {
        return Err(
            "PyTorch counts no versions of this weight: an inference tensor can't be frozen".into(),
        );
    }
    Ok(stack[0] as i64)
}
