//! Every public item of im2col, used as another crate uses it: a name that went, a field that came or a bound that grew is seen
//! here, not by users. The test below holds this file to the list.

use im2col::testing::{Call, Family, Fill, Layer, Tolerance};
use im2col::{
    Accuracy, Activation, Algorithm, Axis, BackwardBias, BackwardData, BackwardWeight, BatchNorm,
    Bound, Conv, Conv1d, Conv2d, Conv3d, ConvTranspose, ConvTranspose1d, ConvTranspose2d,
    ConvTranspose3d, Corner, Dims, Element, Engine, Error, Executor, Forward, Isa, Layout,
    MAX_AXES, Options, Output, PackedWeight, Padding, PaddingMode, Params, ParseIsaError,
    ParsePaddingModeError, ParseScheduleError, Pass, PatchMap, PerAxis, Plan, Plans, Rayon,
    Schedule, Serial, Shape, Size, Staging, Term, TransposedPlan, Weight, Write, capi, col2im,
    fold_batch_norm, fold_batch_norm_transposed, im2col, reference, testing,
};
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Threads of this crate's.
struct Threads;

impl Executor for Threads {
    fn workers(&self) -> usize {
        2
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for index in 0..jobs {
                scope.spawn(move || job(index));
            }
        });
    }

    fn enter(&self, call: &mut (dyn FnMut() + Send)) {
        call();
    }
}

/// A layer's sizes and its schedule, kept as text by serde.
pub fn stored() -> Outcome {
    let reflected = PaddingMode::Reflect;
    let params = Params { pad_begin: [1; 3], padding_mode: reflected, ..Params::default() };
    let params = Params { input: [4; 3], layout: Layout::ChannelsLast, ..params };
    let text = serde_json::to_string(&params)?;
    assert!(
        text.contains(r#""layout":"channels_last""#) && text.contains(r#""reflect""#),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<Params>(&text)?, params);
    // What a text doesn't name is as in the default: later versions may have more fields.
    let some: Params = serde_json::from_str(r#"{"batch":3,"kernel":[1,1,1]}"#)?;
    assert_eq!(some, Params { batch: 3, ..Params::default() });
    let plan = Plan::<f32>::new(Shape::new(params)?, Options::default())?;
    let schedule = plan.schedule(Pass::Forward);
    let again: Option<Schedule> = serde_json::from_str(&serde_json::to_string(&schedule)?)?;
    assert_eq!(again, schedule);
    assert!(serde_json::from_str::<Schedule>(r#""nothing""#).is_err());
    Ok(())
}

/// A layer of every setting.
pub fn builders() -> Outcome {
    let one: Conv1d<f32> = Conv1d::new([1, 1, 8], [1, 1, 3]);
    let two: Conv2d<f32> = Conv2d::new([2, 4, 8, 8], [6, 2, 3, 3]);
    let three: Conv3d<f64> = Conv3d::new([1, 1, 4, 4, 4], [1, 1, 2, 2, 2]);
    let twice = PerAxis::from(2);
    let _: PerAxis<2> = [1, 2].into();
    fn described<T: Element, const AXES: usize>(layer: Conv<T, AXES>) -> Result<Dims, Error> {
        layer.output_shape()
    }
    described(one)?;
    described(three)?;
    let two = two.stride(twice).padding([1, 1]).padding_per_side(1, [2, 1]).dilation(1).groups(2);
    let two = two.layout(Layout::ChannelsLast).algorithm(Algorithm::Implicit).isa(Isa::best());
    let two = two.accuracy(Accuracy::Tile2).activation(Activation::Clamp(0.0, 6.0));
    let shape: Shape = two.shape()?;
    let plan: Plan<f32> = two.plan()?;
    assert_eq!(*plan.shape(), shape);
    let mode: Result<PaddingMode, ParsePaddingModeError> = "reflect".parse();
    assert_eq!((mode?.name(), PaddingMode::ALL.len()), ("reflect", 4));
    one.same().padding_mode(mode?).inference().plan()?;

    let up: ConvTranspose2d<f32> = ConvTranspose2d::new([1, 4, 3, 3], [4, 3, 2, 2]);
    let up = up.stride(2).padding(0).padding_per_side(0, 0).output_padding(1).dilation(1).groups(1);
    let up =
        up.layout(Layout::ChannelsFirst).algorithm(Algorithm::Auto).accuracy(Accuracy::Element);
    let up = up.isa(Isa::best()).activation(Activation::Relu);
    up.output_shape()?;
    up.inference().plan()?;
    let up: TransposedPlan<f32> = up.plan()?;
    let _: (Dims, Dims, Dims) = (up.input_shape(), up.weight_shape(), up.output_shape());
    let _: [usize; 3] = [up.input_len(), up.weight_len(), up.output_len()];
    ConvTranspose1d::<f64>::new([1, 1, 3], [1, 1, 2]).plan()?;
    fn planned<T: Element, const AXES: usize>(
        layer: ConvTranspose<T, AXES>,
    ) -> Result<TransposedPlan<T>, Error> {
        layer.plan()
    }
    planned(ConvTranspose3d::<f64>::new([1, 1, 2, 2, 2], [1, 1, 2, 2, 2]))?;
    let other = TransposedPlan::<f32>::new(Params::default(), [0; MAX_AXES], Options::default())?;
    let other = other.with_activation(Activation::None)?.with_batch(2)?.with_input(&[3, 4])?;
    let (x, w) = (vec![1.0; other.input_len()], vec![1.0; other.weight_len()]);
    let mut y = vec![0.0; other.output_len()];
    let packed = other.pack_weight(Pass::Forward, &w)?;
    other.pack_weight_on(Pass::Forward, &w, &Serial)?;
    other.forward(&x, &packed).run(&mut y)?;
    other.backward_data(&w, &y).run(&mut vec![0.0; x.len()])?;
    other.backward_weight(&x, &y).run(&mut vec![0.0; w.len()])?;
    other.backward_bias(&y).run(&mut [0.0])?;
    let _ = other.scratch_len(Pass::Forward).max(other.min_scratch_len(Pass::Forward));
    other.scratch_len_on(Pass::Forward, &Serial);
    let conv: &Plan<f32> = other.conv();
    conv.clone().transposed()?;
    let _ = (other.clone(), other.to_string(), format!("{other:?}"));
    Ok(())
}

/// Sizes as numbers. A closure that copies a layer's sizes with a change in them crashed a compiler once.
pub fn sizes() -> Outcome {
    let params = Params {
        axes: 2,
        batch: 2,
        in_channels: 4,
        out_channels: 6,
        input: [8, 9, 0],
        kernel: [3, 3, 0],
        ..Params::default()
    };
    let f = |layout| Params { layout, ..params };
    let shape = Shape::new(f(Layout::ChannelsFirst))?;
    let mut cache: HashMap<Params, Shape> = HashMap::new();
    cache.insert(*shape.params(), shape);
    let counts = [shape.batch(), shape.groups(), shape.in_channels(), shape.out_channels()];
    let pixels = [shape.input_pixels(), shape.output_pixels(), shape.kernel_taps()];
    let lens = [shape.input_len(), shape.weight_len(), shape.output_len(), shape.image_len()];
    let more = [shape.patch_len(), shape.cols_len()?, shape.group_in(), shape.group_out()];
    let _ = (counts, pixels, lens, more, shape.flops(), shape.layout(), shape.is_empty());
    let dims: Dims = shape.input_shape();
    assert_eq!(dims.as_ref(), [2, 4, 8, 9]);
    let _ = (shape.weight_shape(), shape.output_shape(), shape.to_string(), dims.to_string());
    let axis: Axis = shape.axes()[0];
    let _ = (axis.source(0, 0), axis.inside(1), axis.kernel, axis.pad_end);
    let map: PatchMap<'_> = shape.patches();
    let Term { output, weight, input } = map.term(0, 0, 0)?;
    let _ = (output, weight, input, map.taps(), map.positions(), map.terms().count());
    let image = vec![1.0f32; shape.image_len()];
    let mut cols = vec![0.0; shape.cols_len()?];
    im2col(&shape, &image, &mut cols)?;
    col2im(&shape, &cols, &mut vec![0.0; image.len()], Write::Overwrite)?;
    let (x, w) = (vec![1.0f32; shape.input_len()], vec![1.0f32; shape.weight_len()]);
    let y = vec![1.0f32; shape.output_len()];
    reference::forward(&shape, &x, &w, None)?;
    reference::backward_data(&shape, &w, &y)?;
    reference::backward_weight(&shape, &x, &y)?;
    reference::backward_bias(&shape, &y)?;
    reference::terms(&shape, |_, _, _| {});
    Ok(())
}

/// Plans, their calls and options.
pub fn plans() -> Outcome {
    let params = Params { in_channels: 4, input: [8; 3], kernel: [3; 3], ..Params::default() };
    let options = Options::default().algorithm(Algorithm::Auto).accuracy(Accuracy::Tile);
    let _ = (options.isa(Isa::Portable).inference(), Options::from(Algorithm::Explicit));
    let cache = Plans::<f32>::with(options, Plans::<f32>::BOUND);
    let _: Plans<f32> = Plans::default();
    let kept: Arc<Plan<f32>> = cache.get(&params)?;
    let _ = (cache.len(), cache.is_empty(), Plans::<f64>::new());
    cache.clear();
    let plan = Plan::<f32>::new(*kept.shape(), options)?.with_activation(Activation::Relu)?;
    let plan = plan.with_batch(2)?.with_input(&[9, 9])?;
    let shape = *plan.shape();
    let _ = (plan.algorithm(), plan.accuracy(), plan.options(), plan.activation(), plan.isa());
    let _ = (plan.input_shape(), plan.weight_shape(), plan.output_shape(), plan.explain());
    let (x, w) = (vec![1.0f32; shape.input_len()], vec![1.0f32; shape.weight_len()]);
    let (b, mut y) = (vec![1.0f32; shape.out_channels()], vec![0.0f32; shape.output_len()]);
    let residual = y.clone();
    let packed: PackedWeight<f32> = plan.pack_weight(Pass::Forward, &w)?;
    let _ = (packed.pass(), packed.len());
    let mut scratch = vec![0.0; plan.scratch_len(Pass::Forward)];
    let call: Forward<'_, f32> = plan.forward(&x, &packed).bias(&b).maybe_bias(Some(&b));
    let call = call.residual(&residual).accumulate().write(Write::Overwrite).executor(&Threads);
    let call = call.activation(Activation::Relu).scratch(&mut scratch).maybe_scratch(None);
    call.run(&mut y)?;
    let mut raw = vec![MaybeUninit::<f32>::uninit(); y.len()];
    plan.forward(&x, Weight::Plain(&w)).run(&mut raw[..])?;
    plan.forward(&x, Weight::from(&packed)).run(Output::from(&mut y))?;
    let made: Vec<f32> = plan.forward(&x, &w).into_vec()?;
    assert_eq!(made, y);
    let (_, _) = (plan.backward_data(&w, &y).into_vec()?, plan.backward_weight(&x, &y).into_vec()?);
    let mut grad_input = vec![0.0; x.len()];
    let call: BackwardData<'_, f32> = plan.backward_data(&w, &y).mask(&y).accumulate();
    let call = call.write(Write::Overwrite).maybe_scratch(None).executor(&Rayon);
    call.run(&mut grad_input)?;
    let mut scratch = vec![0.0; plan.scratch_len_on(Pass::BackwardData, &Serial)];
    plan.backward_data(&w, &y).scratch(&mut scratch).run(&mut grad_input)?;
    let (mut grad_weight, mut grad_bias) = (vec![0.0; w.len()], vec![0.0; b.len()]);
    let call: BackwardWeight<'_, f32> = plan.backward_weight(&x, &y).mask(&y).accumulate();
    let call = call.grad_bias(&mut grad_bias).write(Write::Accumulate).executor(&Serial);
    call.maybe_scratch(None).run(&mut grad_weight)?;
    let mut scratch = vec![0.0; plan.min_scratch_len(Pass::BackwardWeight)];
    plan.backward_weight(&x, &y).scratch(&mut scratch).run(&mut grad_weight)?;
    let call: BackwardBias<'_, f32> = plan.backward_bias(&y).mask(&y).accumulate();
    call.write(Write::Overwrite).executor(&Serial).run(&mut grad_bias)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
    plan.forward(&x, &w).executor(&pool).run(&mut y)?;
    let schedule = plan.schedule(Pass::Forward).ok_or("all passes are planned")?;
    let again: Result<Schedule, ParseScheduleError> = schedule.to_string().parse();
    assert_eq!(again?, schedule);
    let _ = plan.candidates(Pass::Forward)?;
    let plan = plan.measured(Duration::ZERO)?.with_schedule(Pass::Forward, schedule)?;
    let _ = (plan.to_string(), format!("{plan:?}"), format!("{plan:#?}"));
    Ok(())
}

/// What grows is matched with an arm for what comes.
pub fn names() -> Outcome {
    let words = |schedule: &Schedule| {
        let engine = match schedule.engine {
            Engine::Implicit | Engine::Direct | Engine::Winograd | Engine::Explicit => "known",
            _ => "new",
        };
        let lanes = matches!(schedule.lanes, Corner::Channels | Corner::Pixels | Corner::Taps);
        let staged = matches!(schedule.cols, Staging::InPlace | Staging::Copied);
        (engine, lanes, staged, matches!(schedule.padding, Padding::Zeros))
    };
    let _ = words(&"explicit".parse()?);
    for &pass in Pass::ALL {
        let _ = (pass.name(), pass.to_string());
        match pass {
            Pass::Forward | Pass::BackwardData => {}
            Pass::BackwardWeight => {}
            _ => {}
        }
    }
    for &isa in Isa::ALL {
        let again: Result<Isa, ParseIsaError> = isa.name().parse();
        assert_eq!(again, Ok(isa));
        let _ = (isa.is_available(), isa.to_string());
    }
    let _ =
        (Layout::ChannelsLast.to_string(), Algorithm::Auto.to_string(), Accuracy::Tile.to_string());
    let _ = (Write::Accumulate.to_string(), Size::new("kernel", Some(1)).to_string());
    let clamp = Conv1d::<f32>::new([1, 1, 3], [1, 1, 2]).activation(Activation::Clamp(1.0, 0.0));
    if let Err(Error::Clamp { low, high }) = clamp.plan() {
        let bounds: [Bound; 2] = [low, high];
        let _ = (bounds.map(Bound::value), low.to_string());
    }
    let error: Error = Shape::new(Params { axes: 4, ..Params::default() }).unwrap_err();
    let _: Box<dyn std::error::Error + Send + Sync> = Box::new(error);
    let (mut weight, mut bias) = ([1.0f32; 4], [0.0; 2]);
    let (zero, one) = ([0.0; 2], [1.0; 2]);
    let norm = BatchNorm { mean: &zero, variance: &one, gamma: &one, beta: &zero, epsilon: 1e-5 };
    fold_batch_norm(&mut weight, &mut bias, &norm)?;
    let up = ConvTranspose1d::<f32>::new([1, 1, 3], [1, 2, 2]).plan()?;
    fold_batch_norm_transposed(up.conv().shape(), &mut weight, &mut bias, &norm)?;
    Ok(())
}

/// The kit of tests and the C interface, as Rust sees them.
pub fn kits() -> Outcome {
    testing::for_layers(&Family::grouped(), 1, |params| {
        let layer = Layer::<f32>::new(params, Fill::Integers);
        let call = Call::Pass(Pass::Forward, Write::Overwrite);
        let expected = layer.expected(call);
        for plan in testing::plans::<f32>(layer.shape) {
            let found = layer.run(&plan, Pass::Forward, Write::Overwrite);
            expected.assert_close("a plan", &found, Tolerance::Exact);
        }
    });
    assert_eq!(capi::im2col_set_num_threads(0), capi::IM2COL_OK);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    #[test]
    fn all_of_it_runs() -> super::Outcome {
        super::stored()?;
        super::builders()?;
        super::sizes()?;
        super::plans()?;
        super::names()?;
        super::kits()
    }

    /// Every name that the library's root exports, and every public function of its types, is used above.
    #[test]
    fn nothing_is_left_out() {
        let own = include_str!("lib.rs");
        let words: Vec<&str> = own.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src");
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        let root = read(&src.join("lib.rs"));
        let mut names = Vec::new();
        for exported in root.split("pub use ").skip(1) {
            let list = exported.split(';').next().unwrap();
            let list = list.rsplit("::{").next().unwrap().rsplit("::").next().unwrap();
            names.extend(list.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned));
        }
        let files = [
            "activation.rs",
            "batch_norm.rs",
            "call.rs",
            "call/output.rs",
            "call/over_pixels.rs",
            "choose/schedule.rs",
            "conv.rs",
            "element.rs",
            "error.rs",
            "kernel/mod.rs",
            "options.rs",
            "padding.rs",
            "packed.rs",
            "parallel.rs",
            "pass.rs",
            "plan.rs",
            "plan/measured.rs",
            "plans.rs",
            "reference.rs",
            "shape.rs",
            "transposed.rs",
            "view/im2col.rs",
            "view/map.rs",
        ];
        for file in files {
            let text = read(&src.join(file));
            for function in text.split("pub fn ").skip(1) {
                let name =
                    function.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                names.push(name.to_owned());
            }
        }
        assert!(names.len() > 150, "{names:?}");
        names.retain(|name| !name.is_empty() && !words.contains(&name.as_str()));
        assert!(names.is_empty(), "not used here: {names:?}");
    }
}
