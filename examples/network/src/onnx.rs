//! Weights from an ONNX file: its initialisers, found by following the file's graph along with the network's, and its
//! batch normalisations, folded into them.
//!
//! Only the parts of a file that are read are declared here; the crate `prost` skips all others.

use crate::graph::{Graph, Kind, Step};
use crate::numbers::{Weights, weight_dims};
use im2col::{BatchNorm, fold_batch_norm};
use prost::Message;
use std::collections::HashMap;
use std::error::Error;
use std::path::Path;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Model {
    #[prost(message, optional, tag = "7")]
    pub(crate) graph: Option<File>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct File {
    #[prost(message, repeated, tag = "1")]
    pub(crate) node: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub(crate) input: Vec<Input>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Input {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub(crate) input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) output: Vec<String>,
    #[prost(string, tag = "4")]
    pub(crate) op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub(crate) attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Attribute {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(float, tag = "2")]
    pub(crate) f: f32,
    #[prost(int64, tag = "3")]
    pub(crate) i: i64,
    #[prost(int64, repeated, tag = "8")]
    pub(crate) ints: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    pub(crate) dims: Vec<i64>,
    /// 1 is f32.
    #[prost(int32, tag = "2")]
    pub(crate) data_type: i32,
    #[prost(float, repeated, tag = "4")]
    pub(crate) float_data: Vec<f32>,
    #[prost(string, tag = "8")]
    pub(crate) name: String,
    #[prost(bytes = "vec", tag = "9")]
    pub(crate) raw_data: Vec<u8>,
    /// 1 is a file beside this one.
    #[prost(int32, tag = "14")]
    pub(crate) data_location: i32,
}

impl Tensor {
    fn numbers(&self) -> Result<Vec<f32>, String> {
        let name = &self.name;
        if self.data_type != 1 {
            return Err(format!("{name} has data type {}: only 1 (f32) is read", self.data_type));
        }
        if self.data_location != 0 {
            return Err(format!(
                "{name} lies in another file: save the model with its weights in one"
            ));
        }
        let numbers: Vec<f32> = match self.float_data.is_empty() {
            true => self.raw_data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            false => self.float_data.clone(),
        };
        let expected = self.dims.iter().product::<i64>();
        if usize::try_from(expected) != Ok(numbers.len()) {
            return Err(format!("{name} is {:?}, but has {} numbers", self.dims, numbers.len()));
        }
        Ok(numbers)
    }
}

/// What may stand between two steps without changing what they compute.
const PASSED_OVER: [&str; 8] =
    ["Relu", "Clip", "Flatten", "Reshape", "Dropout", "Identity", "Squeeze", "Unsqueeze"];

/// Reads the weights of all steps of a network from a file.
pub(crate) fn load(path: &Path, graph: &Graph) -> Result<Vec<Option<Weights>>, Box<dyn Error>> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let model = Model::decode(&bytes[..])
        .map_err(|error| format!("{} is no ONNX file: {error}", path.display()))?;
    Ok(weights(&model, graph)?)
}

/// The weights of all steps, channels first.
pub(crate) fn weights(model: &Model, graph: &Graph) -> Result<Vec<Option<Weights>>, String> {
    let file = model.graph.as_ref().ok_or("the file holds no graph")?;
    let named = file.initializer.iter().map(|tensor| (&tensor.name[..], tensor));
    let mut reader = Reader { nodes: &file.node, tensors: named.collect() };
    // Exporters keep one of several equal tensors and give it more names.
    for node in file.node.iter().filter(|node| node.op_type == "Identity") {
        if let (Ok(tensor), Some(name)) = (reader.tensor(node, 0), node.output.first()) {
            reader.tensors.insert(name, tensor);
        }
    }
    let is_image = |input: &&Input| !reader.tensors.contains_key(&input.name[..]);
    let image = file.input.iter().find(is_image).ok_or("the file's graph has no input")?;
    // What the file calls each of the network's tensors.
    let mut names = vec![image.name.clone()];
    let mut found = Vec::new();
    for step in &graph.steps {
        let in_step = |error: String| format!("{}: {error}", step.name);
        let node = reader.node(step, graph, &names).map_err(in_step)?;
        let (weights, end) = reader.follow(node, step).map_err(in_step)?;
        found.push(weights);
        names.push(end);
    }
    Ok(found)
}

struct Reader<'a> {
    nodes: &'a [Node],
    tensors: HashMap<&'a str, &'a Tensor>,
}

impl<'a> Reader<'a> {
    /// The node that computes a step: of its kind, reading what it reads and with a weight of its size.
    fn node(&self, step: &Step, graph: &Graph, names: &[String]) -> Result<&'a Node, String> {
        let ops: &[&str] = match step.kind {
            Kind::Conv(_) => &["Conv", "Gemm"],
            Kind::Up(_) => &["ConvTranspose"],
            Kind::MaxPool { .. } => &["MaxPool"],
            Kind::Mean => &["GlobalAveragePool", "ReduceMean"],
            Kind::Concat(_) => &["Concat"],
        };
        let reads = &names[step.input];
        let dims = weight_dims(&step.kind, graph.channels(step.input));
        let fits = |node: &&Node| {
            ops.contains(&&node.op_type[..])
                && node.input.first() == Some(reads)
                && dims.is_none_or(|dims| self.has_weight(node, dims))
        };
        let weight = dims.map_or_else(String::new, |dims| format!(" with a weight of {dims:?}"));
        let what = format!("{} of {reads}{weight}", ops.join(" or "));
        let mut fitting = self.nodes.iter().filter(fits);
        let first = fitting.next().ok_or_else(|| format!("the file has no {what}"))?;
        match fitting.next() {
            None => Ok(first),
            Some(_) => Err(format!("the file has more than one {what}: which is meant?")),
        }
    }

    fn has_weight(&self, node: &Node, dims: [usize; 4]) -> bool {
        let Ok(weight) = self.tensor(node, 1) else { return false };
        let found: Vec<_> = weight.dims.iter().map(|&dim| dim as usize).collect();
        let dense = [dims[0], dims[1..].iter().product()];
        match found[..] {
            [outer, inner] if transposed(node) => [outer, inner] == dense,
            [inner, outer] => [outer, inner] == dense,
            _ => found == dims,
        }
    }

    fn tensor(&self, node: &Node, input: usize) -> Result<&'a Tensor, String> {
        let name = node.input.get(input).ok_or("a node has too few inputs")?;
        self.tensors.get(&name[..]).copied().ok_or_else(|| format!("{name} is no initialiser"))
    }

    /// The weights of a step that begins with `node`, and the name of what it makes: normalisation, residual and
    /// activation
    /// are part of the step.
    fn follow(&self, node: &Node, step: &Step) -> Result<(Option<Weights>, String), String> {
        let mut weights = match step.kind.conv() {
            Some(_) => Some(self.weights_of(node)?),
            None => None,
        };
        let mut is_summed = step.kind.conv().is_none_or(|conv| conv.residual.is_none());
        let mut end = node.output.first().ok_or("a node makes nothing")?;
        loop {
            let goes_on = |next: &&Node| match &next.op_type[..] {
                "BatchNormalization" => next.input.first() == Some(end),
                "Add" => !is_summed && next.input.contains(end),
                // What resizes to the size that is there already.
                "AveragePool" => next.input.first() == Some(end) && is_of_single_pixels(next),
                op => PASSED_OVER.contains(&op) && next.input.first() == Some(end),
            };
            let Some(next) = self.nodes.iter().find(goes_on) else { break };
            match (&next.op_type[..], &mut weights) {
                ("BatchNormalization", Some(weights)) if matches!(step.kind, Kind::Conv(_)) => {
                    self.fold(next, weights)?;
                }
                ("BatchNormalization", _) => return Err("what is normalised is no Conv".to_owned()),
                ("Add", _) => is_summed = true,
                _ => {}
            }
            end = next.output.first().ok_or("a node makes nothing")?;
        }
        if !is_summed {
            return Err(format!("nothing is added to {end}, which has a residual"));
        }
        Ok((weights, end.clone()))
    }

    fn weights_of(&self, node: &Node) -> Result<Weights, String> {
        let tensor = self.tensor(node, 1)?;
        let mut weight = tensor.numbers()?;
        let outer = tensor.dims.first().map_or(0, |&dim| dim as usize);
        let mut channels = outer;
        if node.op_type == "ConvTranspose" {
            channels = tensor.dims[1] as usize;
        } else if node.op_type == "Gemm" && !transposed(node) {
            channels = weight.len() / outer.max(1);
            let element = |i: usize| weight[i % outer * channels + i / outer];
            weight = (0..weight.len()).map(element).collect();
        }
        let bias = match node.input.get(2) {
            Some(name) if !name.is_empty() => self.tensor(node, 2)?.numbers()?,
            _ => vec![0.0; channels],
        };
        Ok([weight, bias])
    }

    fn fold(&self, norm: &Node, [weight, bias]: &mut Weights) -> Result<(), String> {
        let [gamma, beta, mean, variance] =
            [1, 2, 3, 4].map(|input| self.tensor(norm, input)?.numbers());
        let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
        let epsilon = norm.attribute.iter().find(|a| a.name == "epsilon").map_or(1e-5, |a| a.f);
        let norm = BatchNorm {
            mean: &mean,
            variance: &variance,
            gamma: &gamma,
            beta: &beta,
            epsilon: epsilon.into(),
        };
        fold_batch_norm(weight, bias, &norm).map_err(|error| error.to_string())
    }
}

fn is_of_single_pixels(pool: &Node) -> bool {
    let kernel = pool.attribute.iter().find(|a| a.name == "kernel_shape");
    kernel.is_some_and(|kernel| kernel.ints.iter().all(|&size| size == 1))
}

/// Whether a dense layer's weight lies as a convolution's: outputs by inputs.
fn transposed(node: &Node) -> bool {
    node.attribute.iter().any(|a| a.name == "transB" && a.i == 1)
}

#[cfg(test)]
#[path = "onnx_tests.rs"]
mod tests;
