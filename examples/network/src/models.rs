//! The networks, as their papers and torchvision have them.

use crate::graph::{After, Conv, Graph, TensorId};

/// A network by name.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    /// What the height and width of its images are multiples of.
    pub(crate) multiple: usize,
    /// Makes it for images of a height and width.
    pub(crate) graph: fn(usize) -> Graph,
}

/// All of them.
pub(crate) const ALL: [Model; 5] = [
    Model { name: "resnet18", multiple: 1, graph: |size| resnet(size, [2, 2, 2, 2], basic) },
    Model { name: "resnet50", multiple: 1, graph: |size| resnet(size, [3, 4, 6, 3], bottleneck) },
    Model { name: "mobilenet_v2", multiple: 1, graph: mobilenet_v2 },
    Model { name: "vgg16", multiple: 1, graph: vgg16 },
    Model { name: "unet", multiple: 16, graph: unet },
];

/// A block of a ResNet: channels of its stage and its stride.
type Block = fn(&mut Graph, TensorId, usize, usize, &str) -> TensorId;

fn resnet(size: usize, blocks: [usize; 4], block: Block) -> Graph {
    let mut net = Graph::new([3, size, size]);
    let stem = net.conv("conv1", 0, Conv::normed(64, 7).stride(2));
    let mut at = net.max_pool(stem, [3, 2, 1]);
    for (stage, count) in blocks.into_iter().enumerate() {
        for n in 0..count {
            let stride = if stage > 0 && n == 0 { 2 } else { 1 };
            at = block(&mut net, at, 64 << stage, stride, &format!("{}.{n}", stage + 1));
        }
    }
    classify(net, at)
}

/// The shortcut of a block: its input, or a 1x1 convolution of it where the sizes differ.
fn shortcut(net: &mut Graph, at: TensorId, out: usize, stride: usize, name: &str) -> TensorId {
    if stride == 1 && net.channels(at) == out {
        return at;
    }
    let conv = Conv::normed(out, 1).stride(stride).after(After::Nothing);
    net.conv(&format!("{name}.down"), at, conv)
}

fn basic(net: &mut Graph, at: TensorId, width: usize, stride: usize, name: &str) -> TensorId {
    let short = shortcut(net, at, width, stride, name);
    let first = net.conv(&format!("{name}.a"), at, Conv::normed(width, 3).stride(stride));
    net.conv(&format!("{name}.b"), first, Conv::normed(width, 3).residual(short))
}

/// With the stride in the 3x3 convolution, as in torchvision.
fn bottleneck(net: &mut Graph, at: TensorId, width: usize, stride: usize, name: &str) -> TensorId {
    let short = shortcut(net, at, 4 * width, stride, name);
    let first = net.conv(&format!("{name}.a"), at, Conv::normed(width, 1));
    let second = net.conv(&format!("{name}.b"), first, Conv::normed(width, 3).stride(stride));
    net.conv(&format!("{name}.c"), second, Conv::normed(4 * width, 1).residual(short))
}

/// A mean over the pixels, then 1000 classes.
fn classify(mut net: Graph, at: TensorId) -> Graph {
    let mean = net.mean(at);
    net.conv("classes", mean, Conv::new(1000, 1).after(After::Nothing));
    net
}

/// Expansion, channels, blocks and stride of each stage.
const MOBILENET_V2: [[usize; 4]; 7] = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
];

fn mobilenet_v2(size: usize) -> Graph {
    let mut net = Graph::new([3, size, size]);
    let mut at = net.conv("stem", 0, Conv::normed(32, 3).stride(2).after(After::Relu6));
    for (stage, [expansion, out, count, first]) in MOBILENET_V2.into_iter().enumerate() {
        for n in 0..count {
            let name = format!("{}.{n}", stage + 1);
            let (input, stride) = (at, if n == 0 { first } else { 1 });
            let wide = expansion * net.channels(input);
            if expansion > 1 {
                let conv = Conv::normed(wide, 1).after(After::Relu6);
                at = net.conv(&format!("{name}.expand"), at, conv);
            }
            let conv = Conv::normed(wide, 3).stride(stride).groups(wide).after(After::Relu6);
            at = net.conv(&format!("{name}.depth"), at, conv);
            let mut conv = Conv::normed(out, 1).after(After::Nothing);
            if stride == 1 && net.channels(input) == out {
                conv = conv.residual(input);
            }
            at = net.conv(&format!("{name}.project"), at, conv);
        }
    }
    let at = net.conv("head", at, Conv::normed(1280, 1).after(After::Relu6));
    classify(net, at)
}

fn vgg16(size: usize) -> Graph {
    let mut net = Graph::new([3, size, size]);
    let mut at = 0;
    for (stage, (width, count)) in
        [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)].into_iter().enumerate()
    {
        for n in 0..count {
            at = net.conv(&format!("{}.{n}", stage + 1), at, Conv::new(width, 3));
        }
        at = net.max_pool(at, [2, 2, 0]);
    }
    // The dense layers: the first is a filter as large as what is left of the image.
    let left = net.sizes[at][1];
    at = net.conv("dense1", at, Conv::new(4096, left).padding(0));
    at = net.conv("dense2", at, Conv::new(4096, 1));
    net.conv("classes", at, Conv::new(1000, 1).after(After::Nothing));
    net
}

/// The U-Net of Ronneberger, Fischer and Brox (2015) for images of three channels and two classes of pixels, with
/// padding, so
/// that nothing is cut off, and batch normalisation.
fn unet(size: usize) -> Graph {
    let mut net = Graph::new([3, size, size]);
    let (mut at, mut kept) = (0, Vec::new());
    for stage in 0..5 {
        if stage > 0 {
            at = net.max_pool(at, [2, 2, 0]);
        }
        at = twice(&mut net, at, 64 << stage, &format!("down{}", stage + 1));
        kept.push(at);
    }
    for stage in (0..4).rev() {
        let (width, name) = (64 << stage, format!("up{}", stage + 1));
        let wide = net.up(&name, at, width, 2);
        let joined = net.concat(&format!("{name}.concat"), [kept[stage], wide]);
        at = twice(&mut net, joined, width, &name);
    }
    net.conv("classes", at, Conv::new(2, 1).after(After::Nothing));
    net
}

fn twice(net: &mut Graph, at: TensorId, width: usize, name: &str) -> TensorId {
    let first = net.conv(&format!("{name}.a"), at, Conv::normed(width, 3));
    net.conv(&format!("{name}.b"), first, Conv::normed(width, 3))
}
