"""A network that the example has written (`network --dump`), and the same for other libraries: ONNX, ncnn and PyTorch."""
import json

import numpy as np


class Net:
    """What the example has written."""

    def __init__(self, folder):
        described = json.loads((folder / "graph.json").read_text())
        self.steps, self.sizes, self.batch = described["steps"], described["sizes"], described["batch"]
        numbers, at = np.fromfile(folder / "numbers.bin", "<f4"), 0
        self.weights = []
        for step in self.steps:
            if step["kind"] not in ("conv", "up"):
                self.weights.append(None)
                continue
            channels, kernel = self.sizes[step["input"]][0], step["kernel"]
            outer = (step["out"], channels // step["groups"]) if step["kind"] == "conv" else (channels, step["out"])
            size = int(np.prod(outer)) * kernel * kernel
            weight, bias = numbers[at:at + size], numbers[at + size:at + size + step["out"]]
            self.weights.append((weight.reshape(*outer, kernel, kernel), bias))
            at += size + step["out"]
        self.input = numbers[at:].reshape(self.batch, *self.sizes[0])
        self.output = np.fromfile(folder / "output.bin", "<f4").reshape(self.batch, -1)


def window(step):
    """Kernel, stride and padding as ONNX writes them."""
    return {"kernel_shape": [step["kernel"]] * 2, "strides": [step["stride"]] * 2, "pads": [step["padding"]] * 4}


def onnx_chain(n, step):
    """The nodes of a step, one after the other: operator, what it reads beside what the one before made, attributes."""
    kind = step["kind"]
    if kind == "mean":
        return [("GlobalAveragePool", [], {})]
    if kind == "concat":
        return [("Concat", [f"t{step['other']}"], {"axis": 1})]
    if kind == "max_pool":
        return [("MaxPool", [], window(step))]
    chain = [("Conv" if kind == "conv" else "ConvTranspose", [f"w{n}", f"b{n}"], {**window(step), "group": step["groups"]})]
    if step["residual"] is not None:
        chain.append(("Add", [f"t{step['residual']}"], {}))
    if step["after"] == "relu":
        chain.append(("Relu", [], {}))
    if step["after"] == "relu6":
        chain.append(("Clip", ["zero", "six"], {}))
    return chain


def onnx_model(net):
    from onnx import TensorProto, helper, numpy_helper
    nodes, constants = [], []
    for n, (step, weights) in enumerate(zip(net.steps, net.weights)):
        if weights:
            constants += [numpy_helper.from_array(np.array(w), f"{kind}{n}") for kind, w in zip("wb", weights)]
        at, made, chain = f"t{step['input']}", f"t{n + 1}", onnx_chain(n, step)
        for k, (kind, more, attributes) in enumerate(chain):
            to = made if k == len(chain) - 1 else f"{made}_{k}"
            nodes.append(helper.make_node(kind, [at, *more], [to], **attributes))
            at = to
    constants += [numpy_helper.from_array(np.array(x, np.float32), name) for name, x in [("zero", 0), ("six", 6)]]
    shape = lambda n: [net.batch, *net.sizes[n]]
    last = len(net.steps)
    graph = helper.make_graph(nodes, "net", [helper.make_tensor_value_info("t0", TensorProto.FLOAT, shape(0))],
                              [helper.make_tensor_value_info(f"t{last}", TensorProto.FLOAT, shape(last))], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def ncnn_layers(net):
    """(type, name, inputs, output, parameters, weights) of each of ncnn's layers; activations are fused where nothing is added first."""
    activations = {"none": "", "relu": " 9=1", "relu6": " 9=3 -23310=2,0.0,6.0"}
    for n, (step, weights) in enumerate(zip(net.steps, net.weights)):
        source, made, kind = f"t{step['input']}", f"t{n + 1}", step["kind"]
        if kind == "mean":
            yield "Pooling", f"s{n}", [source], made, "0=1 4=1", None
        elif kind == "concat":
            yield "Concat", f"s{n}", [source, f"t{step['other']}"], made, "0=0", None
        elif kind == "max_pool":
            yield "Pooling", f"s{n}", [source], made, f"0=0 1={step['kernel']} 2={step['stride']} 3={step['padding']} 5=1", None
        else:
            weight, bias = weights
            if kind == "up":
                weight = weight.transpose(1, 0, 2, 3)
            sizes = f"0={step['out']} 1={step['kernel']} 3={step['stride']} 4={step['padding']} 5=1 6={weight.size}"
            kind, sizes = ("Deconvolution" if kind == "up" else "Convolution", sizes)
            if step["groups"] > 1:
                kind, sizes = "ConvolutionDepthWise", f"{sizes} 7={step['groups']}"
            if step["residual"] is None:
                yield kind, f"s{n}", [source], made, sizes + activations[step["after"]], (weight, bias)
                continue
            yield kind, f"s{n}", [source], f"{made}_0", sizes, (weight, bias)
            clipped = step["after"] != "none"
            summed = f"{made}_1" if clipped else made
            yield "BinaryOp", f"a{n}", [f"{made}_0", f"t{step['residual']}"], summed, "0=0", None
            if clipped:
                relu = step["after"] == "relu"
                yield "ReLU" if relu else "Clip", f"r{n}", [summed], made, "" if relu else "0=0.0 1=6.0", None


def ncnn_write(net, param, bin):
    """The two files of an ncnn model. A tensor that several layers read goes through ncnn's layer Split."""
    layers = list(ncnn_layers(net))
    readers = {}
    for _, _, inputs, _, _, _ in layers:
        for name in inputs:
            readers[name] = readers.get(name, 0) + 1
    lines, blobs, taken = [], 0, {}

    def add(kind, name, inputs, outputs, rest):
        nonlocal blobs
        blobs += len(outputs)
        lines.append(f"{kind} {name} {len(inputs)} {len(outputs)} {' '.join(inputs)} {' '.join(outputs)} {rest}".rstrip())

    def split(name):
        if readers.get(name, 0) > 1:
            add("Split", f"split_{name}", [name], [f"{name}_s{k}" for k in range(readers[name])], "")

    def reads(name):
        if readers[name] == 1:
            return name
        taken[name] = taken.get(name, -1) + 1
        return f"{name}_s{taken[name]}"

    with open(bin, "wb") as numbers:
        add("Input", "input", [], ["t0"], "")
        split("t0")
        for kind, name, inputs, output, parameters, weights in layers:
            add(kind, name, [reads(source) for source in inputs], [output], parameters)
            split(output)
            if weights:
                # Four bytes that say: f32.
                numbers.write(bytes(4) + np.ascontiguousarray(weights[0]).tobytes() + weights[1].tobytes())
    param.write_text(f"7767517\n{len(lines)} {blobs}\n" + "\n".join(lines) + "\n")


def torch_module(net, order):
    """The network as a module, its tensors in a memory order."""
    import torch
    import torch.nn.functional as F
    place = lambda array: torch.from_numpy(np.array(array)).contiguous(memory_format=order)

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            weights = [w and (place(w[0]), torch.from_numpy(np.array(w[1]))) for w in net.weights]
            self.weights = weights

        def forward(self, image):
            tensors = [image]
            for step, weight in zip(net.steps, self.weights):
                x = tensors[step["input"]]
                if step["kind"] == "mean":
                    x = F.adaptive_avg_pool2d(x, 1)
                elif step["kind"] == "concat":
                    x = torch.cat([x, tensors[step["other"]]], 1)
                elif step["kind"] == "max_pool":
                    x = F.max_pool2d(x, step["kernel"], step["stride"], step["padding"])
                elif step["kind"] == "up":
                    x = F.conv_transpose2d(x, *weight, step["stride"])
                else:
                    x = F.conv2d(x, *weight, step["stride"], step["padding"], 1, step["groups"])
                    if step["residual"] is not None:
                        x = x.add_(tensors[step["residual"]])
                    if step["after"] != "none":
                        x = x.clamp_(0, 6 if step["after"] == "relu6" else None)
                tensors.append(x)
            return tensors[-1]

    return Module().eval(), place(net.input)
