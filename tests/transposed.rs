//! Transposed layers against the picture that explains them: every input element stamps the
//! filter, times itself, onto the output; stamps are `stride` apart and add up where they
//! overlap, and `padding` elements are cut off the sides.

use im2col::testing::{Family, Fill, dot, families, for_layers, nan, numbers};
use im2col::{
    Algorithm, Conv2d, Element, Error, Layout, MAX_AXES, Options, Params, Pass, TransposedPlan,
};
use im2col::{ConvTranspose, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d};

/// A transposed layer: `params` as its caller says them (`in_channels` are the layer's own), and
/// the output padding.
#[derive(Debug, Clone, Copy)]
struct Layer {
    params: Params,
    output_padding: [usize; MAX_AXES],
    output: [usize; MAX_AXES],
}

impl Layer {
    /// A drawn layer made transposed: its symmetric padding is what the stamps leave room for.
    fn new(mut params: Params) -> Self {
        let (mut output_padding, mut output) = ([0; MAX_AXES], [1; MAX_AXES]);
        for a in 0..params.axes {
            output_padding[a] = (params.pad_end[a] + 1) % params.stride[a];
            let spread = (params.input[a] - 1) * params.stride[a];
            let full = spread + params.dilation[a] * (params.kernel[a] - 1) + 1;
            let padding = params.pad_begin[a].min((full - 1) / 2);
            (params.pad_begin[a], params.pad_end[a]) = (padding, padding);
            output[a] = full + output_padding[a] - 2 * padding;
        }
        for a in params.axes..MAX_AXES {
            (params.input[a], params.kernel[a], params.stride[a]) = (1, 1, 1);
            (params.dilation[a], params.pad_begin[a], params.pad_end[a]) = (1, 0, 0);
        }
        Self { params, output_padding, output }
    }

    fn lens(&self) -> [usize; 3] {
        let Params { batch, in_channels: c, out_channels: k, groups, .. } = self.params;
        let count = |sizes: [usize; MAX_AXES]| sizes.iter().product::<usize>();
        let weight = c * (k / groups) * count(self.params.kernel);
        [batch * c * count(self.params.input), weight, batch * k * count(self.output)]
    }

    /// A plan for every case that is offered.
    fn plans<T: Element>(&self) -> Vec<TransposedPlan<T>> {
        let Params { batch: n, in_channels: c, input: [d, h, w], .. } = self.params;
        let (k, [q, r, s]) = (self.params.out_channels / self.params.groups, self.params.kernel);
        match self.params.axes {
            1 => self.plans_of(ConvTranspose1d::new([n, c, d], [c, k, q])),
            2 => self.plans_of(ConvTranspose2d::new([n, c, d, h], [c, k, q, r])),
            _ => self.plans_of(ConvTranspose3d::new([n, c, d, h, w], [c, k, q, r, s])),
        }
    }

    fn plans_of<T: Element, const AXES: usize>(
        &self,
        layer: ConvTranspose<T, AXES>,
    ) -> Vec<TransposedPlan<T>> {
        let p = &self.params;
        let cut = |sizes: [usize; MAX_AXES]| core::array::from_fn(|a| sizes[a]);
        let layer = layer.stride(cut(p.stride)).padding(cut(p.pad_begin)).groups(p.groups);
        let layer = layer.dilation(cut(p.dilation)).output_padding(cut(self.output_padding));
        let layer = layer.layout(p.layout);
        let plan = |algorithm| {
            let plan = layer.algorithm(algorithm).plan();
            plan.unwrap_or_else(|error| panic!("{self:?}: {error}"))
        };
        [Algorithm::Auto, Algorithm::Explicit, Algorithm::Implicit].map(plan).to_vec()
    }

    /// Calls `stamp(output, input, weight)` for every product.
    fn stamps(&self, mut stamp: impl FnMut(usize, usize, usize)) {
        let Params { batch, in_channels, out_channels, groups, .. } = self.params;
        let per_group = [in_channels / groups, out_channels / groups];
        let p = &self.params;
        for n in 0..batch {
            for c in 0..in_channels {
                for k in 0..per_group[1] {
                    let channel = c / per_group[0] * per_group[1] + k;
                    for at in every(p.input) {
                        for tap in every(p.kernel) {
                            let Some(to) = self.lands(at, tap) else { continue };
                            let i = self.place([n, c], in_channels, at, p.input);
                            let o = self.place([n, channel], out_channels, to, self.output);
                            stamp(o, i, self.place([c, k], per_group[1], tap, p.kernel));
                        }
                    }
                }
            }
        }
    }

    /// Where a tap of the stamp of an input element lands, unless that is cut off.
    fn lands(&self, at: [usize; MAX_AXES], tap: [usize; MAX_AXES]) -> Option<[usize; MAX_AXES]> {
        let mut to = [0; MAX_AXES];
        for a in 0..MAX_AXES {
            let full = at[a] * self.params.stride[a] + tap[a] * self.params.dilation[a];
            to[a] = full.checked_sub(self.params.pad_begin[a]).filter(|&x| x < self.output[a])?;
        }
        Some(to)
    }

    fn place(
        &self,
        [outer, channel]: [usize; 2],
        channels: usize,
        at: [usize; MAX_AXES],
        sizes: [usize; MAX_AXES],
    ) -> usize {
        let pixel = (at[0] * sizes[1] + at[1]) * sizes[2] + at[2];
        let pixels: usize = sizes.iter().product();
        match self.params.layout {
            Layout::ChannelsFirst => (outer * channels + channel) * pixels + pixel,
            _ => (outer * pixels + pixel) * channels + channel,
        }
    }
}

fn every([d, h, w]: [usize; MAX_AXES]) -> impl Iterator<Item = [usize; MAX_AXES]> {
    (0..d * h * w).map(move |i| [i / (h * w), i / w % h, i % w])
}

/// All passes of a transposed layer, in integers, exactly.
fn check<T: Element>(layer: Layer) {
    let [inputs, weights, outputs] = layer.lens();
    let tensor = |tensor, len| numbers::<T>(Fill::Integers, tensor, len);
    let [x, w, dy] = [(0, inputs), (1, weights), (2, outputs)].map(|(i, len)| tensor(i, len));
    let bias = tensor(3, layer.params.out_channels);
    let [mut y, mut dx, mut dw] = [outputs, inputs, weights].map(|len| vec![T::ZERO; len]);
    let add = |to: &mut T, a: T, b: T| *to += a * b;
    layer.stamps(|o, i, k| {
        add(&mut y[o], x[i], w[k]);
        add(&mut dx[i], dy[o], w[k]);
        add(&mut dw[k], dy[o], x[i]);
    });
    let pixels: usize = layer.output.iter().product();
    let biased: Vec<T> = (y.iter().enumerate())
        .map(|(o, &y)| match layer.params.layout {
            Layout::ChannelsFirst => y + bias[o / pixels % bias.len()],
            _ => y + bias[o % bias.len()],
        })
        .collect();
    for plan in layer.plans::<T>() {
        assert_eq!((plan.input_len(), plan.output_len()), (inputs, outputs), "{layer:?}");
        let mut got = vec![nan(); outputs];
        plan.forward(&x, &w).run(&mut got).unwrap();
        assert_eq!(got, y, "forward of {layer:?}");
        plan.forward(&x, &w).bias(&bias).run(&mut got).unwrap();
        assert_eq!(got, biased, "forward with bias of {layer:?}");
        let mut got = vec![nan(); inputs];
        plan.backward_data(&w, &dy).run(&mut got).unwrap();
        assert_eq!(got, dx, "backward_data of {layer:?}");
        let mut got = vec![nan(); weights];
        plan.backward_weight(&x, &dy).run(&mut got).unwrap();
        assert_eq!(got, dw, "backward_weight of {layer:?}");
        plan.backward_weight(&x, &dy).accumulate().run(&mut got).unwrap();
        assert!(got.iter().zip(&dw).all(|(&got, &dw)| got == dw + dw), "accumulated {layer:?}");
        assert_eq!(dot(&y, &dy), dot(&x, &dx), "adjoints of {layer:?}");
    }
}

#[test]
fn every_pass_is_the_stamps_it_is_made_of() {
    let narrow = |family: &Family| family.name != "wide";
    for family in families().iter().filter(|family| narrow(family)) {
        for_layers(family, 16, |params| {
            check::<f32>(Layer::new(params));
            check::<f64>(Layer::new(params));
        });
    }
}

/// An upsampling layer as in U-Net: 2x2 stamps, two apart, which tile the output.
#[test]
fn stamps_that_tile() {
    let layer = ConvTranspose2d::<f32>::new([1, 1, 2, 2], [1, 1, 2, 2]).stride([2, 2]);
    let plan = layer.plan().unwrap();
    let mut y = [0.0; 16];
    plan.forward(&[2.0, 3.0, 5.0, 7.0], &[1.0, 10.0, 100.0, 1000.0]).run(&mut y).unwrap();
    #[rustfmt::skip]
    let expected = [
          2.0,   20.0,   3.0,   30.0,
        200.0, 2000.0, 300.0, 3000.0,
          5.0,   50.0,   7.0,   70.0,
        500.0, 5000.0, 700.0, 7000.0,
    ];
    assert_eq!(y, expected);
}

/// `output_padding` names one of the sizes that the same convolution would have come from: here
/// 2 * 2 - 2 + 2 + 1 + 1 = 6 rather than 5. The last output is only reached by padding.
#[test]
fn output_padding_adds_at_the_end() {
    let layer = ConvTranspose1d::<f32>::new([1, 1, 3], [1, 1, 3]).stride([2]).padding([1]);
    let short = layer.plan().unwrap();
    let long = layer.output_padding([1]).plan().unwrap();
    assert_eq!((short.output_len(), long.output_len()), (5, 6));
    let (x, w) = ([1.0, 10.0, 100.0], [2.0, 3.0, 5.0]);
    let (mut y, mut z) = ([0.0; 5], [0.0; 6]);
    short.forward(&x, &w).run(&mut y).unwrap();
    long.forward(&x, &w).run(&mut z).unwrap();
    assert_eq!(y, [3.0, 25.0, 30.0, 250.0, 300.0]);
    assert_eq!(z, [3.0, 25.0, 30.0, 250.0, 300.0, 500.0]);
}

/// The transposed passes want the scratch of the convolution's passes that they are.
#[test]
fn scratch_is_that_of_the_mirrored_pass() {
    let layer = ConvTranspose2d::<f32>::new([2, 4, 5, 6], [4, 3, 3, 3]);
    let plan = layer.plan().unwrap();
    let of_conv = |pass| plan.conv().scratch_len(pass);
    assert_eq!(plan.scratch_len(Pass::Forward), of_conv(Pass::BackwardData));
    assert_eq!(plan.scratch_len(Pass::BackwardData), of_conv(Pass::Forward));
    assert_eq!(plan.scratch_len(Pass::BackwardWeight), of_conv(Pass::BackwardWeight));
}

/// A plan for inference has the one pass that it is for, by the transposed layer's name.
#[test]
fn inference() {
    let layer = ConvTranspose1d::<f32>::new([1, 1, 3], [1, 1, 2]).stride(2).inference();
    let plan = layer.plan().unwrap();
    let of_params = TransposedPlan::new(
        Params { axes: 1, input: [3; 3], kernel: [2; 3], stride: [2; 3], ..Params::default() },
        [0; 3],
        Options::default().inference(),
    );
    for plan in [&plan, &of_params.unwrap(), &plan.with_batch(1).unwrap()] {
        let packed = plan.pack_weight(Pass::Forward, &[10.0, 1.0]).unwrap();
        let mut output = [0.0; 6];
        plan.forward(&[1.0, 2.0, 3.0], &packed).run(&mut output).unwrap();
        assert_eq!(output, [10.0, 1.0, 20.0, 2.0, 30.0, 3.0]);
        let not = |pass| Err(Error::NotPlanned { pass });
        let refused = plan.backward_data(&[10.0, 1.0], &[0.0; 6]).run(&mut [0.0; 3]);
        assert_eq!(refused, not(Pass::BackwardData));
        let refused = plan.backward_weight(&[0.0; 3], &[0.0; 6]).run(&mut [0.0; 2]);
        assert_eq!(refused, not(Pass::BackwardWeight));
        let refused = plan.pack_weight(Pass::BackwardData, &[10.0, 1.0]).map(|_| ());
        assert_eq!(refused, not(Pass::BackwardData));
    }
}

/// What is said of a pass is said under its own name: forward is the convolution's backward_data.
#[test]
fn a_transposed_plan_explains_its_own_passes() {
    let conv = Conv2d::<f32>::new([1, 8, 6, 6], [4, 8, 2, 2]).stride(2).plan().unwrap();
    let line = |text: &str, pass: Pass| {
        let mut lines = text.lines().map(str::to_owned);
        lines.find_map(|line| line.strip_prefix(&format!("{pass}: ")).map(str::to_owned)).unwrap()
    };
    let of_conv = conv.explain();
    let of_transposed = conv.transposed().unwrap().explain();
    let forward = (Pass::Forward, Pass::BackwardData);
    for (own, of_the_conv) in
        [forward, (forward.1, forward.0), (Pass::BackwardWeight, Pass::BackwardWeight)]
    {
        assert_eq!(line(&of_transposed, own), line(&of_conv, of_the_conv));
    }
}
