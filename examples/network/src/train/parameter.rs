//! What is learnt.

/// How much of the last step goes into the next.
const MOMENTUM: f32 = 0.9;

/// Numbers that are learnt, their gradient, and the direction in which they move.
pub(super) struct Parameter {
    pub(super) value: Vec<f32>,
    pub(super) grad: Vec<f32>,
    velocity: Vec<f32>,
}

impl Parameter {
    pub(super) fn new(value: Vec<f32>) -> Self {
        let zeros = vec![0.0; value.len()];
        Self { value, grad: zeros.clone(), velocity: zeros }
    }

    /// Stochastic gradient descent with momentum, as torch has it.
    pub(super) fn step(&mut self, rate: f32) {
        let Self { value, grad, velocity } = self;
        for ((value, &grad), velocity) in value.iter_mut().zip(&*grad).zip(velocity) {
            *velocity = MOMENTUM * *velocity + grad;
            *value -= rate * *velocity;
        }
    }
}
