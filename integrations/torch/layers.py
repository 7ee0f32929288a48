#!/usr/bin/env python3
"""Which layers of a network win and which lose: each call of a convolution, im2col's against PyTorch's own.

usage: layers.py [--models resnet18,..] [--threads 1] [--layout contiguous] [--accuracy element] [--rounds 7]
                 [--below 0.97]

Notes the calls of a training step of bench.py's networks, forward and backward, and times each different one alone,
both kernels in turns. Prints the calls whose ratio (PyTorch's time over im2col's) is below the bound, those that cost
most first, and for each pass the ratio of the sums.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
import torch.utils._python_dispatch
from bench import FORMATS, MODELS, seconds

import im2col.torch

NAMES = {torch.ops.aten.convolution.default: "forward", torch.ops.aten.convolution_backward.default: "backward"}


def described(value: Any) -> Any:
    """A tensor by its sizes and strides, so that equal calls are counted as one."""
    return (
        (tuple(value.shape), tuple(value.stride()))
        if isinstance(value, torch.Tensor)
        else tuple(value)
        if isinstance(value, list)
        else value
    )


class Calls(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the calls of convolutions by what they are called with."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[Any] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in NAMES:
            self.counts[func, tuple(map(described, args))] += 1
        return func(*args, **(kwargs or {}))


def passes(func: Any, arguments: tuple[Any, ...]) -> list[tuple[str, tuple[Any, ...]]]:
    """A call's passes, each with the arguments that ask for it alone."""
    if NAMES[func] == "forward":
        return [("forward", arguments)]
    data, weight, bias = arguments[-1]
    # PyTorch sums the bias while it computes the weight: alone it costs as much as both.
    asked = (("backward_data", (data, False, False)), ("backward_weight", (False, weight, bias)))
    return [(name, (*arguments[:-1], mask)) for name, mask in asked if any(mask)]


def made(value: Any) -> Any:
    """Random tensors for their descriptions."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], tuple):
        return torch.empty_strided(*value).normal_()
    return list(value) if isinstance(value, tuple) else value


def times(func: Any, arguments: tuple[Any, ...], rounds: int, accuracy: str) -> tuple[float, float]:
    """Seconds of one call, PyTorch's and im2col's: medians of rounds of 5 ms, each after a call that isn't counted."""
    arguments = tuple(map(made, arguments))
    repeats = max(1, int(5e-3 / max(1e-7, min(seconds(lambda: func(*arguments)) for _ in range(3)))))

    def run() -> None:
        for _ in range(repeats):
            func(*arguments)

    found: tuple[list[float], list[float]] = ([], [])
    for index in range(rounds + 1):
        func(*arguments)
        own = seconds(run)
        with im2col.torch.enabled(accuracy):
            func(*arguments)
            ours = seconds(run)
        if index:
            found[0].append(own / repeats)
            found[1].append(ours / repeats)
    return statistics.median(found[0]), statistics.median(found[1])


def words(name: str, arguments: tuple[Any, ...]) -> str:
    """input -> weight, and what isn't a default."""
    first = 0 if name == "forward" else 1
    (x, strides), (w, _) = arguments[first], arguments[first + 1]
    stride, padding, dilation, transposed, _, groups = arguments[first + 3 : first + 9]
    last = len(x) > 3 and strides[1] == 1 and x[1] > 1
    text = f"x {'x'.join(map(str, x))} w {'x'.join(map(str, w))}"
    for label, value, usual in (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1)):
        if any(v != usual for v in value):
            text += f" {label} {'x'.join(map(str, value))}"
    return (
        text
        + (f" groups {groups}" if groups > 1 else "")
        + (" transposed" if transposed else "")
        + (" channels last" if last else "")
    )


def report(name: str, arguments: argparse.Namespace) -> None:
    make, size = MODELS[name]
    torch.manual_seed(0)
    model, x = make().train(), torch.randn(size)
    if arguments.layout == "channels_last":
        model, x = model.to(memory_format=FORMATS[len(size)]), x.contiguous(memory_format=FORMATS[len(size)])
    with Calls() as calls:
        F.cross_entropy(model(x), torch.randint(0, 10, size[:1])).backward()
    sums: dict[str, list[float]] = {}
    losses = []
    for (func, called), count in calls.counts.items():
        for pass_name, only in passes(func, called):
            torchs, ours = (t * count * 1e3 for t in times(func, only, arguments.rounds, arguments.accuracy))
            total = sums.setdefault(pass_name, [0.0, 0.0])
            total[0] += torchs
            total[1] += ours
            if torchs < arguments.below * ours:
                losses.append(
                    (
                        ours - torchs,
                        f"  {pass_name:15s} {torchs:8.2f} -> {ours:8.2f} ms x{torchs / ours:.2f}  "
                        f"{count} of {words(NAMES[func], called)}",
                    )
                )
    print(
        f"{name}, {arguments.layout}, {arguments.threads} thread(s):",
        *(f"{k} {a:.1f} -> {b:.1f} ms x{a / b:.2f};" for k, (a, b) in sums.items()),
    )
    for _, line in sorted(losses, reverse=True):
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layout", default="contiguous", choices=["contiguous", "channels_last"])
    parser.add_argument("--accuracy", default="element", choices=["element", "tile2", "tile"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--below", type=float, default=0.97)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.models.split(","):
        report(name, arguments)


if __name__ == "__main__":
    main()
