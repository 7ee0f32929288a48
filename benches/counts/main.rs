//! The passes whose instructions are counted: this library's, by either algorithm.
//!
//! ```text
//! counts LAYER implicit|explicit CALLS
//! ```

mod calls;

use im2col::{Algorithm, Pass, Plan, Serial};

fn main() {
    calls::run("implicit|explicit", |way, shape| {
        let algorithm = match way {
            "implicit" => Algorithm::Implicit,
            "explicit" => Algorithm::Explicit,
            _ => return None,
        };
        let plan = Plan::<f32>::new(shape, algorithm.into()).expect("a small layer");
        println!("{}", plan.explain());
        let mut scratch = vec![0.0; plan.min_scratch_len(Pass::Forward)];
        Some(move |input: &[f32], weight: &[f32], output: &mut [f32]| {
            plan.forward(input, weight)
                .scratch(&mut scratch)
                .executor(&Serial)
                .run(output)
                .expect("the plan's own lengths");
        })
    });
}
