//! Weights that come again as they were, packed: those of a trained network.
//!
//! A weight is known by its storage, of which a weak reference is kept. While there is one, Flex copies the storage
//! before it writes into it (`Arc::make_mut`, `Arc::get_mut`), and no other storage has its address: what is packed
//! stays true.

use burn::tensor::Bytes;
use burn_flex::FlexTensor;
use im2col::{Error, PackedWeight, Params, Pass, Plan};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Weights that are remembered for one type of elements; the one that came first goes first.
const MOST: usize = 256;

/// The weights that were seen, and those that are packed.
pub(crate) struct Frozen<T: Copy>(Mutex<Vec<Entry<T>>>);

struct Entry<T: Copy> {
    storage: Weak<Bytes>,
    /// Where in the storage the weight begins.
    start: usize,
    layer: Params,
    /// None until it comes again.
    packed: Option<Arc<PackedWeight<T>>>,
}

impl<T: Copy> Entry<T> {
    fn is(&self, storage: &Arc<Bytes>, start: usize, layer: &Params) -> bool {
        // Of a weight that is gone the address stays taken for as long as the reference is kept.
        std::ptr::eq(self.storage.as_ptr(), Arc::as_ptr(storage))
            && self.start == start
            && self.layer == *layer
    }
}

impl<T: im2col::Element> Frozen<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The weight packed for the plan's forward pass, where it has been seen before. `elements` are those of `weight`,
    /// from `start` on.
    pub(crate) fn packed(
        &self,
        plan: &Plan<T>,
        weight: &FlexTensor,
        start: usize,
        elements: &[T],
    ) -> Result<Option<Arc<PackedWeight<T>>>, Error> {
        let (storage, layer) = (weight.data_arc(), plan.shape().params());
        let entries = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut entries = entries();
            match entries.iter().find(|entry| entry.is(&storage, start, layer)) {
                Some(Entry { packed: Some(packed), .. }) => return Ok(Some(packed.clone())),
                Some(_) => {}
                None => {
                    entries.retain(|entry| entry.storage.strong_count() > 0);
                    if entries.len() == MOST {
                        entries.remove(0);
                    }
                    let (storage, layer) = (Arc::downgrade(&storage), *layer);
                    entries.push(Entry { storage, start, layer, packed: None });
                    return Ok(None);
                }
            }
        }
        // Others go on meanwhile; who wants the same weight packs it as well.
        let packed = Arc::new(plan.pack_weight(Pass::Forward, elements)?);
        if let Some(entry) = entries().iter_mut().find(|entry| entry.is(&storage, start, layer)) {
            entry.packed = Some(packed.clone());
        }
        Ok(Some(packed))
    }
}
