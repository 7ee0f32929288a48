//! What the functions call: an operation of the backends Flex and Autodiff.

use crate::{Pass, Product, flex};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, TensorMetadata, backend_extension};
use burn::tensor::Shape;

/// A backend whose convolutions im2col computes.
#[backend_extension(Flex, Autodiff)]
pub trait Im2col: Backend {
    /// A product of its two arguments, in the order of [`Product`]'s table.
    fn im2col_product(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        product: Product,
    ) -> FloatTensor<Self>;

    /// The product plus a bias of one element for each channel of the result.
    fn im2col_product_with_bias(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        product: Product,
    ) -> FloatTensor<Self>;

    /// `grad` `[N, K, spatial..]` summed over all axes but the second.
    fn im2col_bias_gradient(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        let shape = grad.shape();
        let [batch, channels] = [shape[0], shape[1]];
        let pixels = shape[2..].iter().product();
        let grad = Self::float_reshape(grad, Shape::from(vec![batch, channels, pixels]));
        let sum = Self::float_sum_dim(Self::float_sum_dim(grad, 2), 0);
        Self::float_reshape(sum, Shape::from(vec![channels]))
    }
}

impl Im2col for Flex {
    fn im2col_product(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        product: Product,
    ) -> FloatTensor<Self> {
        flex::product(&product, a, b, None)
    }

    fn im2col_product_with_bias(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        product: Product,
    ) -> FloatTensor<Self> {
        flex::product(&product, a, b, Some(bias))
    }

    fn im2col_bias_gradient(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        flex::bias_gradient(grad)
    }
}

/// The product that is the gradient of the first argument, or of the second: those of its sums that lack this argument.
///
/// With the names of [`Product`]'s table: which two tensors it takes, in which order, is the table's.
fn gradients<B: Im2col>(
    [a, b, grad]: [FloatTensor<B>; 3],
    asked: [bool; 2],
    product: Product,
) -> [Option<FloatTensor<B>>; 2] {
    let of = |pass, a, b| B::im2col_product(a, b, product.with_pass(pass).tracked());
    let of_a = asked[0].then(|| {
        let (b, grad) = (b.clone(), grad.clone());
        match product.pass() {
            Pass::Forward => of(Pass::BackwardData, b, grad),
            Pass::BackwardData => of(Pass::BackwardWeight, grad, b),
            Pass::BackwardWeight => of(Pass::BackwardData, grad, b),
        }
    });
    let of_b = asked[1].then(|| match product.pass() {
        Pass::Forward => of(Pass::BackwardWeight, a, grad),
        Pass::BackwardData => of(Pass::Forward, grad, a),
        Pass::BackwardWeight => of(Pass::Forward, a, grad),
    });
    [of_a, of_b]
}

/// A product as autodiff sees it: its arguments are kept for the gradients.
#[derive(Debug)]
struct Differentiable;

impl<B: Im2col> Backward<B, 2> for Differentiable {
    type State = (NodeId, NodeId, Product);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let (a, b, product) = ops.state;
        let a: FloatTensor<B> = checkpointer.retrieve_node_output(a);
        let b: FloatTensor<B> = checkpointer.retrieve_node_output(b);
        let asked = ops.parents.each_ref().map(Option::is_some);
        let of = gradients::<B>([a, b, grad], asked, product);
        for (parent, grad) in ops.parents.into_iter().zip(of) {
            if let Some((parent, grad)) = parent.zip(grad) {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

impl<B: Im2col> Backward<B, 3> for Differentiable {
    type State = (NodeId, NodeId, Product);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let (a, b, product) = ops.state;
        let a: FloatTensor<B> = checkpointer.retrieve_node_output(a);
        let b: FloatTensor<B> = checkpointer.retrieve_node_output(b);
        let [node_a, node_b, node_bias] = ops.parents;
        let asked = [node_a.is_some(), node_b.is_some()];
        let [of_a, of_b] = gradients::<B>([a, b, grad.clone()], asked, product);
        let of_bias = node_bias.is_some().then(|| B::im2col_bias_gradient(grad));
        for (parent, grad) in [(node_a, of_a), (node_b, of_b), (node_bias, of_bias)] {
            if let Some((parent, grad)) = parent.zip(grad) {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

impl<B: Im2col, C: CheckpointStrategy> Im2col for Autodiff<B, C> {
    fn im2col_product(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        product: Product,
    ) -> FloatTensor<Self> {
        let run = |a: FloatTensor<Self>, b: FloatTensor<Self>, product| {
            B::im2col_product(a.into_primitive(), b.into_primitive(), product)
        };
        let nodes = [a.node(), b.node()];
        let prepared = <Differentiable as Backward<B, 2>>::prepare::<C>(Differentiable, nodes);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(mut kept) => {
                let state = (kept.checkpoint(&a), kept.checkpoint(&b), product);
                kept.finish(state, run(a, b, product.tracked()))
            }
            OpsKind::UnTracked(plain) => plain.finish(run(a, b, product)),
        }
    }

    fn im2col_product_with_bias(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        product: Product,
    ) -> FloatTensor<Self> {
        let run = |[a, b, bias]: [FloatTensor<Self>; 3], product| {
            let [a, b, bias] = [a, b, bias].map(|tensor| tensor.into_primitive());
            B::im2col_product_with_bias(a, b, bias, product)
        };
        let nodes = [a.node(), b.node(), bias.node()];
        let prepared = <Differentiable as Backward<B, 3>>::prepare::<C>(Differentiable, nodes);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(mut kept) => {
                let state = (kept.checkpoint(&a), kept.checkpoint(&b), product);
                kept.finish(state, run([a, b, bias], product.tracked()))
            }
            OpsKind::UnTracked(plain) => plain.finish(run([a, b, bias], product)),
        }
    }
}
