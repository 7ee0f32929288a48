//! The passes whose instructions are counted: this library's, by either algorithm, and with the tiles of Winograd allowed.
//!
//! ```text
//! counts LAYER implicit|explicit|tile CALLS
//! ```

mod calls;

use im2col::{Accuracy, Algorithm, Options, Pass, Plan, Serial};

fn main() {
    calls::run("implicit|explicit|tile", |way, shape| {
        let options: Options = match way {
            "implicit" => Algorithm::Implicit.into(),
            "explicit" => Algorithm::Explicit.into(),
            "tile" => Options::default().accuracy(Accuracy::Tile),
            _ => return None,
        };
        let plan = Plan::<f32>::new(shape, options).expect("a small layer");
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
