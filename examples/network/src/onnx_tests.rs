use super::*;
use crate::graph::{After, Conv};

fn tensor(name: &str, dims: &[i64], numbers: &[f32]) -> Tensor {
    let raw_data = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    let (name, dims) = (name.to_owned(), dims.to_vec());
    Tensor { dims, data_type: 1, name, raw_data, ..Tensor::default() }
}

fn node(op: &str, input: &[&str], output: &str) -> Node {
    let input = input.iter().map(|&name| name.to_owned()).collect();
    Node { input, output: vec![output.to_owned()], op_type: op.to_owned(), attribute: Vec::new() }
}

/// A residual block and two dense layers, the block's shortcut last, as exporters have it.
fn example() -> (File, Graph) {
    let trans_b = Attribute { name: "transB".to_owned(), i: 1, ..Attribute::default() };
    let down = Tensor { float_data: vec![7.0, 8.0], ..tensor("w.down", &[2, 1, 1, 1], &[]) };
    let taps: Vec<f32> = (0..18).map(|tap| tap as f32).collect();
    let file = File {
        node: vec![
            node("Conv", &["x", "w.a"], "a"),
            node("BatchNormalization", &["a", "g", "b", "m", "v"], "a.n"),
            node("Relu", &["a.n"], "a.r"),
            node("Conv", &["a.r", "w.b", "b.b"], "b"),
            node("Conv", &["x", "w.down"], "down"),
            node("Add", &["b", "down"], "sum"),
            node("Relu", &["sum"], "sum.r"),
            node("GlobalAveragePool", &["sum.r"], "mean"),
            node("Flatten", &["mean"], "flat"),
            Node { attribute: vec![trans_b], ..node("Gemm", &["flat", "w.d", "b.d"], "dense") },
            node("Identity", &["w.d"], "w.e"),
            node("Gemm", &["dense", "w.e"], "y"),
        ],
        initializer: vec![
            tensor("w.a", &[2, 1, 3, 3], &taps),
            tensor("w.b", &[2, 2, 1, 1], &[1.0, 2.0, 3.0, 4.0]),
            tensor("b.b", &[2], &[5.0, 6.0]),
            down,
            tensor("w.d", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            tensor("b.d", &[3], &[7.0, 8.0, 9.0]),
            tensor("g", &[2], &[1.0, 3.0]),
            tensor("b", &[2], &[0.5, 0.0]),
            tensor("m", &[2], &[1.0, 10.0]),
            tensor("v", &[2], &[4.0 - 1e-5, 1.0 - 1e-5]),
        ],
        input: ["w.a", "x"].map(|name| Input { name: name.to_owned() }).to_vec(),
    };
    let mut graph = Graph::new([1, 4, 4]);
    let short = graph.conv("down", 0, Conv::normed(2, 1).after(After::Nothing));
    let first = graph.conv("a", 0, Conv::normed(2, 3));
    let sum = graph.conv("b", first, Conv::normed(2, 1).residual(short));
    let mean = graph.mean(sum);
    let dense = graph.conv("dense", mean, Conv::new(3, 1).after(After::Nothing));
    graph.conv("classes", dense, Conv::new(2, 1).after(After::Nothing));
    (file, graph)
}

fn read(file: File, graph: &Graph) -> Result<Vec<Option<Weights>>, String> {
    // Through the bytes of a file.
    let bytes = Model { graph: Some(file) }.encode_to_vec();
    weights(&Model::decode(&bytes[..]).unwrap(), graph)
}

#[test]
fn weights_are_found_whatever_the_files_order() {
    let (file, graph) = example();
    let found = read(file, &graph).unwrap();
    assert_eq!(found[0], Some([vec![7.0, 8.0], vec![0.0; 2]]));
    // Scales 1/2 and 3: taps 0 to 8 halved, 9 to 17 times three; biases -1/2 + 1/2 and -30.
    let Some([weight, bias]) = &found[1] else { panic!("no weights") };
    for (tap, weight) in weight.iter().enumerate() {
        let wanted = tap as f32 * if tap < 9 { 0.5 } else { 3.0 };
        assert!((weight - wanted).abs() < 1e-4, "{tap}: {weight}");
    }
    assert!(bias[0].abs() < 1e-4 && (bias[1] + 30.0).abs() < 1e-3, "{bias:?}");
    assert_eq!(found[2], Some([vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0]]));
    assert_eq!(found[3], None);
    assert_eq!(found[4], Some([vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![7.0, 8.0, 9.0]]));
    // Without transB the weight is inputs by outputs.
    assert_eq!(found[5], Some([vec![1.0, 3.0, 5.0, 2.0, 4.0, 6.0], vec![0.0; 2]]));
}

#[test]
fn what_does_not_fit_is_named() {
    type Change = fn(&mut File);
    let changes: [(Change, &str); 5] = [
        (|file| file.node.retain(|node| node.output[0] != "down"), "down: the file has no Conv"),
        (|file| file.node.push(node("Conv", &["x", "w.a"], "again")), "a: the file has more than"),
        (|file| file.node.retain(|node| node.op_type != "Add"), "b: nothing is added to b"),
        (|file| file.initializer[1].data_type = 10, "b: w.b has data type 10"),
        (|file| file.initializer[1].data_location = 1, "b: w.b lies in another file"),
    ];
    for (change, wanted) in changes {
        let (mut file, graph) = example();
        change(&mut file);
        let error = read(file, &graph).unwrap_err();
        assert!(error.starts_with(wanted), "{error}");
    }
}
