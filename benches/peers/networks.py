#!/usr/bin/env python3
"""Whole networks here and in other libraries: the same weights, the same input, one after the other.

    python3 benches/peers/networks.py                                  # all networks, one thread
    python3 benches/peers/networks.py resnet50 --threads 2 --rounds 5
    python3 benches/peers/networks.py --keep                           # also keeps the figures: docs/figures/networks-1.csv

`cargo run --release -p network -- NAME --dump DIR` writes each network with its random weights; network_models.py makes the same of it for
ONNX Runtime, OpenVINO, ncnn (Winograd off and on) and PyTorch (both layouts, eager and compiled). Outputs are compared first: the largest
difference over the largest output is printed. Then the libraries take turns, each for some runs in a process of its own, so that
no library's idle threads take the cores of another; the fastest run of each counts. A library that isn't installed is named and left out.

Ours is run with both accuracies and in the layout that is faster for the network; that is fair, as the others choose theirs. Its time is that of all
steps, pooling included. The last line has the ratios: our time over OpenVINO's.
"""
import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from network_models import Net, ncnn_write, onnx_model, torch_module

ROOT = Path(__file__).resolve().parents[2]
NETWORKS = ["resnet18", "resnet50", "mobilenet_v2", "vgg16", "unet"]
OURS = ["im2col", "im2col tile"]
# What differs at most, over the largest output. ncnn's larger Winograd tiles are less exact.
TOLERANCES = {"ncnn Winograd": 1e-2}


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


def ncnn_run(net, threads, winograd):
    import ncnn
    if net.batch != 1:
        raise ValueError("ncnn takes one image at a time")
    model = ncnn.Net()
    model.opt.num_threads, model.opt.use_winograd_convolution = threads, winograd
    for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage", "bf16_packed"):
        setattr(model.opt, f"use_{name}", False)
    with tempfile.TemporaryDirectory() as folder:
        param, bin = Path(folder, "net.param"), Path(folder, "net.bin")
        ncnn_write(net, param, bin)
        if model.load_param(str(param)) or model.load_model(str(bin)):
            raise ValueError("ncnn can't read the model")
    image, last = ncnn.Mat(np.ascontiguousarray(net.input[0])), f"t{len(net.steps)}"

    def run():
        extractor = model.create_extractor()
        extractor.input("t0", image)
        return np.array(extractor.extract(last)[1])
    return run


def torch_run(net, threads, channels_last=False, compiled=False):
    import torch
    torch.set_num_threads(threads)
    module, image = torch_module(net, torch.channels_last if channels_last else torch.contiguous_format)
    if compiled:
        module = torch.compile(module)

    @torch.inference_mode()
    def run():
        return module(image).numpy()
    return run


MAKERS = {
    "OpenVINO": openvino_run,
    "ONNX Runtime": onnxruntime_run,
    "ncnn": lambda net, threads: ncnn_run(net, threads, False),
    "ncnn Winograd": lambda net, threads: ncnn_run(net, threads, True),
    "PyTorch": torch_run,
    "PyTorch nhwc": lambda net, threads: torch_run(net, threads, True),
    "PyTorch compiled": lambda net, threads: torch_run(net, threads, False, True),
    "PyTorch compiled nhwc": lambda net, threads: torch_run(net, threads, True, True),
}


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
    # Large networks run often enough in a shorter turn.
    runs = max(1, args.runs // 3) if name in ("vgg16", "unet") else args.runs
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        ours(name, args.threads, 1, "element", "nchw", folder)
        peers = list(args.peers)
        for _ in range(args.rounds):
            for library, accuracy in zip(OURS, ["element", "tile"]):
                for layout in ["nchw", "nhwc"]:
                    best[library] = min(best.get(library, float("inf")), ours(name, args.threads, runs, accuracy, layout))
            for library in list(peers):
                found = peer(library, folder, args.threads, runs)
                if found is None:
                    peers.remove(library)
                    continue
                best[library], off[library] = min(best.get(library, float("inf")), found[0]), found[1]
                if not found[1] < TOLERANCES.get(library, 1e-3):
                    sys.exit(f"{library} and the example don't make the same of {name}: {found[1]:.1e}")
    return best, off


def write_csv(path, found):
    """The figures of all networks; what was measured before of others stays."""
    rows = {}
    if path.exists():
        for row in csv.reader(path.read_text().splitlines()[1:]):
            rows[row[0], row[1]] = row
    for name, (best, off) in found.items():
        for library, ms in best.items():
            rows[name, library] = [name, library, f"{ms:.2f}", f"{off[library]:.0e}" if library in off else ""]
    lines = ["network,library,milliseconds,difference", *(",".join(row) for row in rows.values())]
    path.write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each library")
    parser.add_argument("--runs", type=int, default=10, help="runs in each turn; a third of it for VGG-16 and the U-Net")
    parser.add_argument("--peers", nargs="+", choices=MAKERS, default=list(MAKERS), metavar="LIBRARY", help=", ".join(MAKERS))
    parser.add_argument("--keep", action="store_true", help="write the figures to docs/figures/networks-THREADS.csv; then run summary.py")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return in_this_process(args.child[0], Path(args.child[1]), args.threads, args.runs)
    subprocess.run(["cargo", "build", "-q", "--release", "-p", "network"], cwd=ROOT, check=True)
    found = {}
    columns = OURS + list(args.peers)
    print(f"Milliseconds of a forward pass, batch 1, f32, {args.threads} thread{'s' * (args.threads > 1)}; in brackets the largest difference "
          f"to ours over the largest output.\n\n| network | {' | '.join(columns)} |\n|---|{'--:|' * len(columns)}")
    for name in args.networks or NETWORKS:
        best, off = found[name] = measure(name, args)
        cell = lambda library: "-" if library not in best else f"{best[library]:.1f}" + (f" ({off[library]:.0e})" if library in off else "")
        print(f"| {name} | {' | '.join(map(cell, columns))} |", flush=True)
        if args.keep:
            write_csv(ROOT / "docs" / "figures" / f"networks-{args.threads}.csv", found)
    ratios = lambda library: " ".join(f"{name} {best[library] / best['OpenVINO']:.2f}" for name, (best, _) in found.items() if "OpenVINO" in best)
    print(f"\nnetworks {args.threads}t: ours/openvino {ratios('im2col')}; tile {ratios('im2col tile')}")


if __name__ == "__main__":
    main()
