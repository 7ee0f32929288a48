//! Weights, as they lie or packed once for many calls: what inference and frozen layers want.

use crate::element::Element;
use crate::engine::layer::Weights;
use crate::error::{Error, check_len};
use crate::pass::Pass;
use crate::plan::{Format, Plan};
use aligned_vec::{AVec, ConstAlign};
use alloc::vec::Vec;

/// A layer's weights in the order in which one pass reads them, made by [`Plan::pack_weight`].
///
/// It knows the order that it was packed in. The plan that packed it takes it, and those that are made from this plan by
/// [`with_batch`](Plan::with_batch) and [`with_input`](Plan::with_input). Any other plan takes it if it wants the same order,
/// whatever its batch, image size, stride and padding, and refuses the call otherwise.
#[derive(Debug, Clone)]
pub struct PackedWeight<T: Copy> {
    format: Format,
    data: AVec<T, ConstAlign<64>>,
}

impl<T: Element> PackedWeight<T> {
    pub(crate) fn new(format: Format, data: AVec<T, ConstAlign<64>>) -> Self {
        Self { format, data }
    }

    /// The pass that the weights were packed for.
    pub fn pass(&self) -> Pass {
        self.format.pass
    }

    /// The memory that the packed weights take, in elements.
    #[allow(clippy::len_without_is_empty, reason = "a layer has weights")]
    pub fn len(&self) -> usize {
        self.data.len()
    }
}

/// The weights of a call: a slice in the layout's order, or [`PackedWeight`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Weight<'a, T: Copy> {
    /// As torch has them: `[K, C / groups, kernel..]`, or `[K, kernel.., C / groups]` channels last.
    Plain(&'a [T]),
    /// Packed by [`Plan::pack_weight`] for this pass.
    Packed(&'a PackedWeight<T>),
}

impl<'a, T: Element> Weight<'a, T> {
    /// The weights as a pass of a plan reads them, checked; `called` is the pass by the caller's name.
    pub(crate) fn of(
        self,
        plan: &Plan<T>,
        pass: Pass,
        called: Pass,
    ) -> Result<Weights<'a, T>, Error> {
        match self {
            Weight::Plain(weight) => {
                check_len("weight", plan.shape().weight_len(), weight.len())?;
                Ok(Weights::Raw(weight))
            }
            Weight::Packed(packed) => {
                let wanted = plan.format(pass)?;
                let Some(differs) = packed.format.differs(&wanted) else {
                    return Ok(Weights::Packed(&packed.data));
                };
                // A transposed layer calls its passes by the other's name.
                let named =
                    if pass == called { packed.format.pass } else { packed.format.pass.mirror() };
                Err(Error::PackedFor { differs, packed: named, used: called })
            }
        }
    }
}

impl<'a, T: Copy> From<&'a [T]> for Weight<'a, T> {
    fn from(weight: &'a [T]) -> Self {
        Weight::Plain(weight)
    }
}

impl<'a, T: Copy> From<&'a Vec<T>> for Weight<'a, T> {
    fn from(weight: &'a Vec<T>) -> Self {
        Weight::Plain(weight)
    }
}

impl<'a, T: Copy, const N: usize> From<&'a [T; N]> for Weight<'a, T> {
    fn from(weight: &'a [T; N]) -> Self {
        Weight::Plain(weight)
    }
}

impl<'a, T: Copy> From<&'a PackedWeight<T>> for Weight<'a, T> {
    fn from(weight: &'a PackedWeight<T>) -> Self {
        Weight::Packed(weight)
    }
}
