//! The passes, compiled in this crate once for each element type.
//!
//! A generic function is compiled in the crate that calls it, and as that crate is optimised: whoever
//! runs a plan would compile every pass again, and in a debug build run them unoptimised around kernels
//! that are. A plan goes through a table of what was compiled here.

use super::chosen::Chosen;
use crate::choose::schedule::Schedule;
use crate::element::{Element, ForElement};
use crate::engine::bias;
use crate::engine::layer::{Layer, Weights};
use crate::engine::mask::{self, Mask};
use crate::error::Error;
use crate::kernel::{Epilogue, Kernels};
use crate::options::{Accuracy, Options};
use crate::parallel::Parallelism;
use crate::pass::{Pass, Write};
use crate::shape::Shape;
use aligned_vec::{AVec, ConstAlign};
use alloc::vec::Vec;
use core::fmt;

/// The functions of a [`Chosen`] for one element type, and what is the same in every choice: the gradient of the bias, and
/// masks.
#[allow(clippy::type_complexity, reason = "the signatures of the functions they are")]
pub(super) struct Passes<T: 'static> {
    pub(super) choose: fn(&Shape, Options, &Kernels<T>) -> Result<Chosen, Error>,
    pub(super) for_shape:
        fn(&Chosen, &Shape, Options, &Kernels<T>, &[Pass]) -> Result<Chosen, Error>,
    pub(super) replace: fn(&mut Chosen, &Shape, &Kernels<T>, Pass, Schedule) -> Result<(), Error>,
    pub(super) candidates: fn(&Shape, Accuracy, &Kernels<T>, Pass) -> Result<Vec<Schedule>, Error>,
    pub(super) pack:
        fn(&Chosen, &Layer<'_, T>, Pass, &[T]) -> Result<AVec<T, ConstAlign<64>>, Error>,
    pub(super) forward:
        fn(&Chosen, &Layer<'_, T>, &[T], Weights<'_, T>, Epilogue<'_, T>, &mut [T], &mut [T]),
    pub(super) backward_data:
        fn(&Chosen, &Layer<'_, T>, &[T], Weights<'_, T>, Epilogue<'_, T>, &mut [T], &mut [T]),
    pub(super) backward_weight: fn(&Chosen, &Layer<'_, T>, [&[T]; 2], &mut [T], Write, &mut [T]),
    pub(super) backward_bias:
        fn(&Shape, bool, Parallelism<'_>, (&[T], Option<Mask<'_, T>>), &mut [T], Write),
    pub(super) masked: fn(Parallelism<'_>, &[T], Mask<'_, T>, &mut [T]),
    pub(super) explain: fn(&Chosen, &Layer<'_, T>, bool, &mut fmt::Formatter<'_>) -> fmt::Result,
}

impl<T: Element> Passes<T> {
    const OF: Self = Self {
        choose: Chosen::new,
        for_shape: Chosen::for_shape,
        replace: Chosen::replace,
        candidates: Chosen::candidates,
        pack: Chosen::pack,
        forward: Chosen::forward,
        backward_data: Chosen::backward_data,
        backward_weight: Chosen::backward_weight,
        backward_bias: bias::backward_bias,
        masked: mask::masked,
        explain: Chosen::explain,
    };
}

/// The tables.
struct OfElement;

// Statics, not constants: a constant is made anew, with all that it names, where it is used.
static F32: Passes<f32> = Passes::OF;
static F64: Passes<f64> = Passes::OF;

impl ForElement for OfElement {
    type Value<T: 'static> = &'static Passes<T>;

    fn f32(self) -> &'static Passes<f32> {
        &F32
    }

    fn f64(self) -> &'static Passes<f64> {
        &F64
    }
}

/// The table of an element type.
pub(super) fn passes<T: Element>() -> &'static Passes<T> {
    T::choose(OfElement)
}
