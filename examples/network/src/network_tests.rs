use super::*;
use crate::graph::After;
use crate::models::{self, Model};
use im2col::{Accuracy, Layout, Params, Serial, Shape, reference};

/// No two tensors that are alive at once share a buffer.
#[test]
fn tensors_do_not_overwrite_what_is_still_read() {
    for Model { name, graph, .. } in models::ALL {
        let graph = graph(64);
        let (last, (places, _)) = (graph.last_uses(), places(&graph, 1));
        for made in 1..graph.sizes.len() {
            for earlier in 0..made {
                let summed = summed_in_place(&graph, &last, made - 1) == Some(earlier);
                let alive = earlier == 0 || (last[earlier] >= made - 1 && !summed);
                assert!(!alive || places[earlier] != places[made], "{name}: {earlier}, {made}");
            }
        }
    }
}

/// A convolution, its residual and its activation by the library's reference, one image, channels first.
fn conv_by_loops(
    conv: &Conv,
    from: [usize; 3],
    input: &[f32],
    [weight, bias]: &[Vec<f32>; 2],
    residual: Option<&[f32]>,
) -> Vec<f32> {
    let shape = Shape::new(Params {
        axes: 2,
        in_channels: from[0],
        out_channels: conv.out,
        groups: conv.groups,
        input: [from[1], from[2], 1],
        kernel: [conv.kernel, conv.kernel, 1],
        stride: [conv.stride, conv.stride, 1],
        pad_begin: [conv.padding, conv.padding, 0],
        pad_end: [conv.padding, conv.padding, 0],
        ..Params::default()
    });
    let sums = reference::forward(&shape.unwrap(), input, weight, Some(bias)).unwrap();
    let after = |(i, sum): (usize, f64)| {
        let all = sum as f32 + residual.map_or(0.0, |r| r[i]);
        match conv.after {
            After::Nothing => all,
            After::Relu => all.max(0.0),
            After::Relu6 => all.clamp(0.0, 6.0),
        }
    };
    sums.into_iter().enumerate().map(after).collect()
}

/// A transposed convolution whose kernel is its stride, by its definition.
fn up_by_loops(
    conv: &Conv,
    [channels, height, width]: [usize; 3],
    input: &[f32],
    [weight, bias]: &[Vec<f32>; 2],
) -> Vec<f32> {
    let times = conv.kernel;
    let mut made = Vec::new();
    for (k, bias) in bias.iter().enumerate() {
        for (y, x) in (0..height * times).flat_map(|y| (0..width * times).map(move |x| (y, x))) {
            let term = |c: usize| {
                let place = ((c * conv.out + k) * times + y % times) * times + x % times;
                input[(c * height + y / times) * width + x / times] * weight[place]
            };
            made.push((0..channels).map(term).sum::<f32>() + bias);
        }
    }
    made
}

/// What a graph makes of one image by loops, one for each index, channels first.
fn by_loops(graph: &Graph, parameters: &Parameters) -> Vec<f32> {
    let mut tensors = vec![parameters.input.clone()];
    for (n, step) in graph.steps.iter().enumerate() {
        let (from, to) = (graph.sizes[step.input], graph.sizes[n + 1]);
        let (input, layout) = (&tensors[step.input], Layout::ChannelsFirst);
        let mut made = vec![0.0; to.iter().product()];
        match (step.kind, &parameters.weights[n]) {
            (Kind::Conv(conv), Some(weights)) => {
                let residual = conv.residual.map(|r| &tensors[r][..]);
                made = conv_by_loops(&conv, from, input, weights, residual);
            }
            (Kind::Up(conv), Some(weights)) => made = up_by_loops(&conv, from, input, weights),
            (Kind::MaxPool { kernel, stride, padding }, _) => {
                pool::max_pool(layout, [from, to], [kernel, stride, padding], input, &mut made);
            }
            (Kind::Concat(other), _) => made = [&input[..], &tensors[other][..]].concat(),
            _ => pool::mean(layout, from, input, &mut made),
        }
        tensors.push(made);
    }
    tensors.pop().unwrap()
}

/// Runs a graph in both layouts with each accuracy, twice each, since what a run leaves behind must change nothing; and
/// holds the
/// outputs to those of loops.
fn compare(graph: &Graph, accuracies: &[Accuracy], what: &str) {
    let parameters = Parameters::random(graph, 1, 5);
    let wanted = by_loops(graph, &parameters);
    let largest = wanted.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    assert!(largest > 0.01, "{what}: {largest}");
    let [channels, height, width] = graph.sizes[graph.last()];
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let wanted = arranged(wanted.clone(), channels, height * width, layout);
        for &accuracy in accuracies {
            let setting = Setting { batch: 1, layout, accuracy };
            let parameters = parameters.clone();
            let mut network = Network::new(graph.clone(), setting, &Serial, parameters).unwrap();
            for _ in 0..2 {
                network.run(|_, _| ()).unwrap();
                assert_eq!(network.output().len(), wanted.len());
                for (found, wanted) in network.output().iter().zip(&wanted) {
                    let off = (found - wanted).abs();
                    assert!(off <= 1e-4 * largest, "{what}, {setting:?}: {found}, {wanted}");
                }
            }
        }
    }
}

/// Every kind of step, with sizes that divide nothing.
#[test]
fn a_small_network_makes_what_plain_loops_make() {
    let mut graph = Graph::new([3, 17, 17]);
    let stem = graph.conv("stem", 0, Conv::new(8, 3).stride(2));
    let pooled = graph.max_pool(stem, [3, 2, 1]);
    let deep = graph.conv("deep", pooled, Conv::new(8, 3).groups(8).after(After::Relu6));
    let sum = graph.conv("sum", deep, Conv::new(8, 3).residual(pooled));
    let up = graph.up("up", sum, 5, 2);
    let other = graph.up("other", deep, 3, 2);
    let both = graph.concat("both", [up, other]);
    graph.mean(both);
    compare(&graph, &[Accuracy::Element, Accuracy::Tile2, Accuracy::Tile], "small");
}

/// Each of the networks, on an image as small as it takes.
#[test]
fn networks_make_what_plain_loops_make() {
    for Model { name, multiple, graph } in models::ALL {
        let size = if multiple > 1 { multiple } else { 32 };
        compare(&graph(size), &[Accuracy::Element, Accuracy::Tile], name);
    }
}
