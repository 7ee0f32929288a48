#!/usr/bin/env python3
"""Whole networks here and in other libraries: the same weights, the same input, one after the other.

    python3 benches/peers/networks.py                                  # all four networks, one thread
    python3 benches/peers/networks.py resnet50 --threads 2 --rounds 5

`cargo run --release -p network -- NAME --dump DIR` writes each network with its random weights; this script makes an ONNX
file of it and runs that in ONNX Runtime and OpenVINO, and the same in PyTorch (both layouts). Outputs are compared first: the largest
difference over the largest output is printed. Then the libraries take turns, each for some runs in a process of its own, so that
no library's idle threads take the cores of another; the fastest run of each counts. A library that isn't installed is named and left out.

Ours is run with both accuracies and in the layout that is faster for the network; that is fair, as the others choose theirs. Its time is that of all
steps, pooling included. The last line has the ratios: our time over OpenVINO's.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
NETWORKS = ["resnet18", "resnet50", "mobilenet_v2", "vgg16"]
OURS = ["im2col", "im2col tile"]
PEERS = ["OpenVINO", "ONNX Runtime", "PyTorch", "PyTorch channels_last"]


class Net:
    """What the example has written."""

    def __init__(self, folder):
        described = json.loads((folder / "graph.json").read_text())
        self.steps, self.sizes, self.batch = described["steps"], described["sizes"], described["batch"]
        numbers, at = np.fromfile(folder / "numbers.bin", "<f4"), 0
        self.weights = []
        for step in self.steps:
            if step["kind"] != "conv":
                self.weights.append(None)
                continue
            channels = self.sizes[step["input"]][0] // step["groups"]
            shape = (step["out"], channels, step["kernel"], step["kernel"])
            size = int(np.prod(shape))
            self.weights.append((numbers[at:at + size].reshape(shape), numbers[at + size:at + size + step["out"]]))
            at += size + step["out"]
        self.input = numbers[at:].reshape(self.batch, *self.sizes[0])
        self.output = np.fromfile(folder / "output.bin", "<f4").reshape(self.batch, -1)


def onnx_model(net):
    from onnx import TensorProto, helper, numpy_helper
    nodes, constants = [], []
    for n, (step, weights) in enumerate(zip(net.steps, net.weights)):
        source, made = f"t{step['input']}", f"t{n + 1}"
        if step["kind"] == "mean":
            nodes.append(helper.make_node("GlobalAveragePool", [source], [made]))
        elif step["kind"] == "max_pool":
            sizes = {"kernel_shape": [step["kernel"]] * 2, "strides": [step["stride"]] * 2, "pads": [step["padding"]] * 4}
            nodes.append(helper.make_node("MaxPool", [source], [made], **sizes))
        else:
            constants += [numpy_helper.from_array(np.array(w), f"{kind}{n}") for kind, w in zip("wb", weights)]
            sizes = {"kernel_shape": [step["kernel"]] * 2, "strides": [step["stride"]] * 2, "pads": [step["padding"]] * 4, "group": step["groups"]}
            chain = [("Conv", [f"w{n}", f"b{n}"], sizes)]
            if step["residual"] is not None:
                chain.append(("Add", [f"t{step['residual']}"], {}))
            if step["after"] == "relu":
                chain.append(("Relu", [], {}))
            if step["after"] == "relu6":
                chain.append(("Clip", ["zero", "six"], {}))
            at = source
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


def openvino_run(net, threads):
    import openvino
    core = openvino.Core()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.onnx")
        path.write_bytes(onnx_model(net).SerializeToString())
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
        request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(np.ascontiguousarray(net.input)))

    def run():
        request.infer()
        return request.get_output_tensor().data
    return run


def onnxruntime_run(net, threads):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(onnx_model(net).SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"t0": net.input})[0]


def torch_run(net, threads, channels_last=False):
    import torch
    import torch.nn.functional as F
    torch.set_num_threads(threads)
    order = torch.channels_last if channels_last else torch.contiguous_format
    place = lambda array: torch.from_numpy(np.array(array)).contiguous(memory_format=order)
    weights = [w and (place(w[0]), torch.from_numpy(np.array(w[1]))) for w in net.weights]
    image = place(net.input)

    @torch.inference_mode()
    def run():
        tensors = [image]
        for step, weight in zip(net.steps, weights):
            x = tensors[step["input"]]
            if step["kind"] == "mean":
                x = F.adaptive_avg_pool2d(x, 1)
            elif step["kind"] == "max_pool":
                x = F.max_pool2d(x, step["kernel"], step["stride"], step["padding"])
            else:
                x = F.conv2d(x, *weight, step["stride"], step["padding"], 1, step["groups"])
                if step["residual"] is not None:
                    x = x.add_(tensors[step["residual"]])
                if step["after"] != "none":
                    x = x.clamp_(0, 6 if step["after"] == "relu6" else None)
            tensors.append(x)
        return tensors[-1].numpy()
    return run


MAKERS = {"OpenVINO": openvino_run, "ONNX Runtime": onnxruntime_run, "PyTorch": torch_run,
          "PyTorch channels_last": lambda net, threads: torch_run(net, threads, True)}


def in_this_process(library, folder, threads, runs):
    """What a child prints: the milliseconds of the fastest run, and the largest difference over the largest output."""
    net = Net(folder)
    run = MAKERS[library](net, threads)
    off = float(np.abs(np.asarray(run()).reshape(net.batch, -1) - net.output).max() / np.abs(net.output).max())
    best = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    print(json.dumps([best * 1e3, off]))


def ours(name, threads, runs, accuracy, layout, dump=None):
    program = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "network"
    command = [program, name, "--threads", str(threads), "--rounds", str(runs), "--accuracy", accuracy, "--layout", layout]
    said = subprocess.run([*command, *(["--dump", dump] if dump else [])], capture_output=True, text=True, check=True).stdout
    return float(re.search(r"^total (\S+) ms", said, re.M)[1])


def peer(library, folder, threads, runs):
    command = [sys.executable, __file__, "--child", library, str(folder), "--threads", str(threads), "--runs", str(runs)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"{library} was not run: {(done.stderr.strip().splitlines() or ['?'])[-1]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(name, args):
    """{library: milliseconds}, and {peer: largest difference}."""
    best, off = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        ours(name, args.threads, 1, "element", "nchw", folder)
        peers = list(PEERS)
        for _ in range(args.rounds):
            for library, accuracy in zip(OURS, ["element", "tile"]):
                for layout in ["nchw", "nhwc"]:
                    best[library] = min(best.get(library, float("inf")), ours(name, args.threads, args.runs, accuracy, layout))
            for library in list(peers):
                found = peer(library, folder, args.threads, args.runs)
                if found is None:
                    peers.remove(library)
                    continue
                best[library], off[library] = min(best.get(library, float("inf")), found[0]), found[1]
                if not found[1] < 1e-3:
                    sys.exit(f"{library} and the example don't make the same of {name}: {found[1]:.1e}")
    return best, off


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each library")
    parser.add_argument("--runs", type=int, default=10, help="runs in each turn")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return in_this_process(args.child[0], Path(args.child[1]), args.threads, args.runs)
    subprocess.run(["cargo", "build", "-q", "--release", "-p", "network"], cwd=ROOT, check=True)
    found = {}
    columns = OURS + PEERS
    print(f"Milliseconds of a forward pass, batch 1, f32, {args.threads} thread{'s' * (args.threads > 1)}; in brackets the largest difference "
          f"to ours over the largest output.\n\n| network | {' | '.join(columns)} |\n|---|{'--:|' * len(columns)}")
    for name in args.networks or NETWORKS:
        best, off = found[name] = measure(name, args)
        cell = lambda library: "-" if library not in best else f"{best[library]:.1f}" + (f" ({off[library]:.0e})" if library in off else "")
        print(f"| {name} | {' | '.join(map(cell, columns))} |", flush=True)
    ratios = lambda library: " ".join(f"{name} {best[library] / best['OpenVINO']:.2f}" for name, (best, _) in found.items() if "OpenVINO" in best)
    print(f"\nnetworks {args.threads}t: ours/openvino {ratios('im2col')}; tile {ratios('im2col tile')}")


if __name__ == "__main__":
    main()
