use super::*;
use crate::models;
use im2col::{Accuracy, Layout, Serial};

const LAYOUTS: [Layout; 2] = [Layout::ChannelsFirst, Layout::ChannelsLast];

fn training(graph: &Graph, batch: usize, layout: Layout) -> Training<'static> {
    let setting = Setting { batch, layout, accuracy: Accuracy::Element };
    let parameters = Parameters::random(graph, batch, 7);
    Training::new(graph.clone(), setting, &Serial, parameters, 7).unwrap()
}

/// Every kind of step, with and without normalisation, residual and each activation.
fn small() -> Graph {
    let mut graph = Graph::new([2, 10, 10]);
    let stem = graph.conv("stem", 0, Conv::normed(6, 3));
    let pooled = graph.max_pool(stem, [3, 2, 1]);
    let deep = graph.conv("deep", pooled, Conv::normed(6, 3).groups(6).after(After::Relu6));
    let sum = graph.conv("sum", deep, Conv::normed(6, 3).residual(pooled));
    let fused = graph.conv("fused", sum, Conv::new(4, 3));
    let up = graph.up("up", fused, 5, 2);
    let both = graph.concat("both", [stem, up]);
    let mean = graph.mean(both);
    graph.conv("classes", mean, Conv::new(3, 1).after(After::Nothing));
    graph
}

/// Along the gradient of any parameter the loss must rise by the square of its length for each unit of the way.
#[test]
fn gradients_are_those_of_the_loss() {
    for layout in LAYOUTS {
        let mut net = training(&small(), 3, layout);
        net.gradients().unwrap();
        let mut grads = Vec::new();
        for layer in net.layers.iter_mut().flatten() {
            grads.push(layer.parameters().map(|p| p.grad.clone()).collect::<Vec<_>>());
        }
        for (n, of_layer) in grads.iter().enumerate() {
            for (k, grad) in of_layer.iter().enumerate() {
                let square: f64 = grad.iter().map(|&x| f64::from(x).powi(2)).sum();
                assert!(square > 1e-9, "{layout:?}, layer {n}, parameter {k}: no gradient");
                // So far that the loss changes by some thousandths.
                let way = (3e-3 / square) as f32;
                let mut loss_at = |way: f32| {
                    let walk = |net: &mut Training<'_>, way: f32| {
                        let layer = net.layers.iter_mut().flatten().nth(n).unwrap();
                        let parameter = layer.parameters().nth(k).unwrap();
                        let values = parameter.value.iter_mut().zip(grad);
                        values.for_each(|(value, grad)| *value += way * grad);
                    };
                    walk(&mut net, way);
                    let loss = net.gradients().unwrap();
                    walk(&mut net, -way);
                    loss
                };
                let rise = (loss_at(way) - loss_at(-way)) / f64::from(2.0 * way);
                let off = (rise / square - 1.0).abs();
                assert!(off < 0.05, "{layout:?}, layer {n}, parameter {k}: {rise} for {square}");
            }
        }
    }
}

/// A few steps on one batch: the loss falls, and both layouts agree on the first. Images are so large
/// that the last layers' normalisations have more than a pixel of each, but for the U-Net, which would take too long.
#[test]
fn networks_learn() {
    for (name, size) in [("resnet18", 64), ("mobilenet_v2", 64), ("unet", 16)] {
        let model = models::ALL.into_iter().find(|model| model.name == name).unwrap();
        let losses = LAYOUTS.map(|layout| {
            let mut net = training(&(model.graph)(size), 3, layout);
            (0..6).map(|_| net.learn(0.01).unwrap()).collect::<Vec<_>>()
        });
        let [first, last] = losses;
        // Labels of single pixels are noise, which takes longer to learn by heart.
        let wanted = if name == "unet" { 0.9 } else { 0.5 };
        assert!(first[5] < wanted * first[0], "{name}: {first:?}");
        // Normalisations over few pixels blow up roundings.
        let off = (first[0] - last[0]).abs() / first[0];
        assert!(off < 1e-2, "{name}: {first:?}, {last:?}");
    }
}
