//! The weight of a layer that is frozen, packed once.

use crate::Activation;
use crate::call::{Packed, Stored};
use crate::op::Product;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Storage, Tensor, bail,
};
use im2col::Params;
use std::sync::{Arc, Mutex, PoisonError};

/// Sizes of images that one layer's weight is kept packed for; the one that came first goes first.
const MOST: usize = 4;

/// The packed weight of one layer, made at its first use for images of a size. Copies of the layer share it.
#[derive(Clone, Default)]
pub(crate) struct Frozen(Arc<Mutex<Vec<(Params, Weight)>>>);

impl std::fmt::Debug for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Frozen")
    }
}

/// A packed weight of either type.
#[derive(Clone)]
enum Weight {
    F32(Arc<Packed<f32>>),
    F64(Arc<Packed<f64>>),
}

impl Frozen {
    /// The forward product of a layer that nothing tracks.
    pub(crate) fn forward(
        &self,
        product: Product,
        input: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let forward = Forward { weight: self.weight(&product.params, weight)?, product };
        let input = input.contiguous()?;
        match bias {
            Some(bias) => input.apply_op2_no_bwd(&bias.contiguous()?, &forward),
            None => input.apply_op1_no_bwd(&forward),
        }
    }

    fn weight(&self, params: &Params, weight: &Tensor) -> Result<Weight> {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept().iter().find(|(of, _)| of == params).map(|(_, packed)| packed.clone());
        if let Some(packed) = found.filter(|packed| packed.is_of(weight.dtype())) {
            return Ok(packed);
        }
        // Others go on meanwhile; who wants the same packs it as well.
        let made = Weight::new(params, &weight.contiguous()?)?;
        let mut kept = kept();
        kept.retain(|(of, _)| of != params);
        if kept.len() == MOST {
            kept.remove(0);
        }
        kept.push((*params, made.clone()));
        Ok(made)
    }
}

impl Weight {
    fn new(params: &Params, weight: &Tensor) -> Result<Self> {
        let (storage, layout) = weight.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage @ CpuStorage::F32(_)) => {
                Ok(Self::F32(Arc::new(Packed::new(params, (storage, layout))?)))
            }
            Storage::Cpu(storage @ CpuStorage::F64(_)) => {
                Ok(Self::F64(Arc::new(Packed::new(params, (storage, layout))?)))
            }
            _ => bail!("im2col packs weights of f32 and f64 on the CPU"),
        }
    }

    /// Whether it is a weight of this type.
    fn is_of(&self, dtype: DType) -> bool {
        match self {
            Self::F32(_) => dtype == DType::F32,
            Self::F64(_) => dtype == DType::F64,
        }
    }

    fn run(
        &self,
        input: Stored<'_>,
        bias: Option<Stored<'_>>,
        activation: Activation,
    ) -> Result<CpuStorage> {
        match self {
            Self::F32(packed) => packed.run(input, bias, activation),
            Self::F64(packed) => packed.run(input, bias, activation),
        }
    }
}

/// A forward product with a packed weight: of an input, and of an input and a bias.
struct Forward {
    product: Product,
    weight: Weight,
}

impl CustomOp1 for Forward {
    fn name(&self) -> &'static str {
        "im2col-frozen"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let output = self.weight.run((storage, layout), None, self.product.activation)?;
        Ok((output, self.product.shape()))
    }
}

impl CustomOp2 for Forward {
    fn name(&self) -> &'static str {
        "im2col-frozen-bias"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let output = self.weight.run((s1, l1), Some((s2, l2)), self.product.activation)?;
        Ok((output, self.product.shape()))
    }
}
