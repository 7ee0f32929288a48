//! The ways to compute a pass, and how each is run.

use im2col::{Algorithm, Element, Pass, Plan, Serial, Shape, reference};

/// A way to compute a pass.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// Loops in f64, one for each index.
    Naive,
    /// cols written out, then one product of `matrixmultiply` a group.
    Textbook,
    /// What the library chooses.
    Im2col,
    /// What another bench measures beside them.
    #[allow(dead_code, reason = "not every bench has one")]
    Other(Other),
}

/// A way that isn't the library's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Other {
    pub(crate) name: &'static str,
    /// Elements of scratch.
    pub(crate) scratch_len: fn(&Shape) -> usize,
    pub(crate) run: Run,
}

/// A pass of a layer from its two operands to its result, with scratch.
pub(crate) type Run = fn(&Shape, Pass, [&[f32]; 2], &mut [f32], &mut [f32]);

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Naive => "naive",
            Way::Textbook => "textbook",
            Way::Im2col => "im2col",
            Way::Other(other) => other.name,
        }
    }

    /// A pass of a layer, ready to be called with its operands, its result and its scratch; and
    /// the elements of scratch that it takes.
    pub(crate) fn prepare(self, shape: Shape, pass: Pass) -> (usize, Call) {
        match self {
            Way::Naive => (0, Box::new(move |operands, to, _| naive(&shape, pass, operands, to))),
            Way::Textbook => prepare(shape, pass, Algorithm::Explicit),
            Way::Im2col => prepare(shape, pass, Algorithm::Auto),
            Way::Other(Other { scratch_len, run, .. }) => {
                let call = move |operands: [&[f32]; 2], to: &mut [f32], scratch: &mut [f32]| {
                    run(&shape, pass, operands, to, scratch);
                };
                (scratch_len(&shape), Box::new(call))
            }
        }
    }
}

/// A pass from its operands to its result, with scratch.
pub(crate) type Call<T = f32> = Box<dyn Fn([&[T]; 2], &mut [T], &mut [T])>;

/// A pass of the library's.
pub(crate) fn prepare<T: Element>(
    shape: Shape,
    pass: Pass,
    algorithm: Algorithm,
) -> (usize, Call<T>) {
    let plan = Plan::<T>::new(shape, algorithm.into());
    let plan = plan.expect("the benches' layers are small");
    let scratch_len = plan.min_scratch_len(pass);
    let call = move |[a, b]: [&[T]; 2], to: &mut [T], scratch: &mut [T]| {
        match pass {
            Pass::Forward => plan.forward(a, b).scratch(scratch).executor(&Serial).run(to),
            Pass::BackwardData => {
                plan.backward_data(a, b).scratch(scratch).executor(&Serial).run(to)
            }
            _ => plan.backward_weight(a, b).scratch(scratch).executor(&Serial).run(to),
        }
        .expect("the plan's own lengths");
    };
    (scratch_len, Box::new(call))
}

fn naive(shape: &Shape, pass: Pass, [a, b]: [&[f32]; 2], to: &mut [f32]) {
    let result = match pass {
        Pass::Forward => reference::forward(shape, a, b, None),
        Pass::BackwardData => reference::backward_data(shape, a, b),
        _ => reference::backward_weight(shape, a, b),
    };
    let result = result.expect("the shape's own lengths");
    to.iter_mut().zip(result).for_each(|(to, x)| *to = x as f32);
}
