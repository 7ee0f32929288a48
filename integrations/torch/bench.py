#!/usr/bin/env python3
"""Whole networks, im2col's convolutions against PyTorch's own: a training step and inference.

usage: bench.py [--models resnet18,..] [--threads 1,2] [--layouts contiguous,channels_last] [--accuracy element]
                [--rounds 5] [--csv FILE] [--table FILE] [--chart FILE.svg]
       bench.py --calls

Both run in one process, in turns: a round is one step of each, and the figure is the median of the rounds' ratios,
PyTorch's time over im2col's: above 1 im2col is faster. A training step is forward, loss, backward and SGD; inference
runs under torch.inference_mode() on a model in eval mode, as it is and after im2col.torch.freeze(model). Needs
torchvision; --chart needs matplotlib. --calls measures what a call of a very small layer costs instead.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

import im2col.torch


class UNet(nn.Module):
    """Four levels of two 3x3 convolutions, with transposed ones on the way up."""

    def __init__(self, width: int = 32):
        super().__init__()
        double = lambda c, k: nn.Sequential(
            nn.Conv2d(c, k, 3, padding=1, bias=False),
            nn.BatchNorm2d(k),
            nn.ReLU(),
            nn.Conv2d(k, k, 3, padding=1, bias=False),
            nn.BatchNorm2d(k),
            nn.ReLU(),
        )
        widths = [width << level for level in range(4)]
        self.down = nn.ModuleList(double(c, k) for c, k in zip([3, *widths], widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(k, c, 2, 2) for c, k in zip(widths, widths[1:]))
        self.join = nn.ModuleList(double(2 * c, c) for c in widths[:-1])
        self.head = nn.Conv2d(width, 10, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for level, down in enumerate(self.down):
            x = down(x if level == 0 else F.max_pool2d(x, 2))
            kept.append(x)
        for level in reversed(range(len(self.up))):
            x = self.join[level](torch.cat([kept[level], self.up[level](x)], 1))
        return self.head(x).mean((2, 3))


def audio() -> nn.Module:
    """One spatial axis: a second of sound at 16 kHz."""
    layers: list[nn.Module] = []
    for c, k, r, stride in [
        (1, 64, 80, 4),
        (64, 64, 3, 1),
        (64, 128, 3, 4),
        (128, 128, 3, 1),
        (128, 256, 3, 4),
        (256, 256, 3, 1),
        (256, 512, 3, 4),
    ]:
        layers += [nn.Conv1d(c, k, r, stride, r // 2, bias=False), nn.BatchNorm1d(k), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(512, 10))


def video() -> nn.Module:
    """Three spatial axes."""
    layers: list[nn.Module] = []
    for c, k, stride in [(3, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)]:
        layers += [nn.Conv3d(c, k, 3, stride, 1, bias=False), nn.BatchNorm3d(k), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(128, 10))


def vision(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import torchvision

        return torchvision.models.get_model(name, num_classes=10)

    return make


# name: model, size of its input
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet18": (vision("resnet18"), (4, 3, 224, 224)),
    "resnet50": (vision("resnet50"), (2, 3, 224, 224)),
    "mobilenet_v2": (vision("mobilenet_v2"), (4, 3, 224, 224)),
    "mobilenet_v3_large": (vision("mobilenet_v3_large"), (4, 3, 224, 224)),
    "resnext50": (vision("resnext50_32x4d"), (2, 3, 224, 224)),
    "efficientnet_b0": (vision("efficientnet_b0"), (2, 3, 224, 224)),
    "convnext_tiny": (vision("convnext_tiny"), (1, 3, 224, 224)),
    "vgg16": (vision("vgg16"), (1, 3, 224, 224)),
    "unet": (UNet, (1, 3, 192, 192)),
    "audio_1d": (audio, (8, 1, 16000)),
    "video_3d": (video, (1, 3, 16, 56, 56)),
}
WHAT = ("training", "inference", "frozen")
LAYOUTS = ("contiguous", "channels_last")
FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def compare(step: Callable[[], object], rounds: int, accuracy: str) -> tuple[float, float, float]:
    """Median seconds of a step, PyTorch's and im2col's, in turns after a step of each; the median of their ratios."""
    times: tuple[list[float], list[float]] = ([], [])
    for index in range(rounds + 1):
        own = seconds(step)
        with im2col.torch.enabled(accuracy):
            ours = seconds(step)
        if index > 0:
            times[0].append(own)
            times[1].append(ours)
    return *map(statistics.median, times), statistics.median(a / b for a, b in zip(*times))


def measure(name: str, layout: str, threads: int, arguments: argparse.Namespace) -> list[dict[str, object]]:
    make, size = MODELS[name]
    if layout == "channels_last" and len(size) not in FORMATS:
        return []
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model, x, y = make(), torch.randn(size), torch.randint(0, 10, size[:1])
    if layout == "channels_last":
        form = FORMATS[len(size)]
        model, x = model.to(memory_format=form), x.contiguous(memory_format=form)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)

    def train() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    def infer() -> None:
        with torch.inference_mode():
            model(x)

    rows = []
    for what, step in zip(WHAT, (train, infer, infer)):
        model.train(what == "training")
        if what == "frozen":
            im2col.torch.freeze(model)
        torchs, ours, ratio = compare(step, arguments.rounds, arguments.accuracy)
        row = dict(model=name, layout=layout, threads=threads, accuracy=arguments.accuracy, what=what)
        row |= dict(torch_ms=round(torchs * 1e3, 1), im2col_ms=round(ours * 1e3, 1), ratio=round(ratio, 3))
        print(
            "{model:18s} {layout:13s} {threads} thread(s) {what:9s} "
            "{torch_ms:8.1f} -> {im2col_ms:8.1f} ms  x{ratio:.2f}".format(**row),
            flush=True,
        )
        rows.append(row)
    return rows


def calls() -> None:
    """What a call costs where there is nothing to compute: the least of ten turns of 3000 calls."""
    torch.set_num_threads(1)
    x, w, b = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 3, 3), torch.randn(1)
    xg, wg = x.clone().requires_grad_(), w.clone().requires_grad_()

    def plain() -> object:
        with torch.no_grad():
            return [torch.conv2d(x, w, b) for _ in range(3000)]

    def gradients() -> object:
        return [torch.autograd.grad(torch.conv2d(xg, wg).sum(), (xg, wg)) for _ in range(3000)]

    for what, run in (("forward", plain), ("forward and backward", gradients)):
        own, ours = [], []
        for _ in range(10):
            own.append(seconds(run))
            with im2col.torch.enabled():
                ours.append(seconds(run))
        print(f"a layer of 1x1x4x4, {what}: PyTorch {min(own) / 3e-3:.2f} us, im2col {min(ours) / 3e-3:.2f} us")


def mean(ratios: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, ratios)))


def table(rows: list[dict[str, object]]) -> str:
    """For each number of threads a row for each model and a column for each way it was run."""
    return "\n".join(
        part([row for row in rows if row["threads"] == threads], threads)
        for threads in dict.fromkeys(row["threads"] for row in rows)
    )


def part(rows: list[dict[str, object]], threads: object) -> str:
    ways = [
        (what, layout)
        for what in WHAT
        for layout in LAYOUTS
        if any((row["what"], row["layout"]) == (what, layout) for row in rows)
    ]
    cells = {(row["model"], row["what"], row["layout"]): row["ratio"] for row in rows}
    lines = [
        f"| {threads} thread{'s' if threads > 1 else ''} | "
        + " | ".join(f"{what}, {layout}" for what, layout in ways)
        + " |"
    ]
    lines.append("|---|" + "--:|" * len(ways))
    for name in dict.fromkeys(row["model"] for row in rows):
        found = [cells.get((name, *way)) for way in ways]
        lines.append(f"| {name} | " + " | ".join("" if ratio is None else f"{ratio:.2f}" for ratio in found) + " |")
    means = [mean([row["ratio"] for row in rows if (row["what"], row["layout"]) == way]) for way in ways]
    lines.append("| **geometric mean** | " + " | ".join(f"**{ratio:.2f}**" for ratio in means) + " |")
    return "\n".join(lines) + "\n"


def chart(rows: list[dict[str, object]], path: str) -> None:
    """The least number of threads, training and inference, in both of PyTorch's layouts."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    threads = min(row["threads"] for row in rows)
    names = list(dict.fromkeys(row["model"] for row in rows))
    figure, axes = plt.subplots(2, 1, figsize=(9, 6), sharex=True)
    for axis, what in zip(axes, ("training", "inference")):
        for index, layout in enumerate(LAYOUTS):
            ratios = {
                r["model"]: r["ratio"]
                for r in rows
                if (r["layout"], r["what"], r["threads"]) == (layout, what, threads)
            }
            axis.bar(
                [i + 0.4 * index for i in range(len(names))],
                [ratios.get(name, 0) for name in names],
                0.38,
                label=layout,
            )
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set_ylabel(f"{what}:\nPyTorch's time / im2col's")
    axes[0].legend()
    axes[0].set_title(f"Whole networks, f32, {threads} thread{'s' if threads > 1 else ''}: above 1 im2col is faster")
    axes[1].set_xticks([i + 0.2 for i in range(len(names))], names, rotation=30, ha="right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--threads", default="1")
    parser.add_argument("--layouts", default=",".join(LAYOUTS))
    parser.add_argument("--accuracy", default="element", choices=["element", "tile2", "tile"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", action="store_true", help="what a call of a very small layer costs")
    parser.add_argument("--csv", help="adds rows to this file")
    parser.add_argument("--table", help="writes the table of all rows of the csv file, or of this run")
    parser.add_argument("--chart", help="writes the chart of the same")
    arguments = parser.parse_args()
    if arguments.calls:
        calls()
        return
    rows: list[dict[str, object]] = []
    for threads in map(int, arguments.threads.split(",")):
        for name in filter(None, arguments.models.split(",")):
            for layout in arguments.layouts.split(","):
                rows += measure(name, layout, threads, arguments)
    if arguments.csv:
        path = Path(arguments.csv)
        old = list(csv.DictReader(path.open())) if path.exists() else []
        rows = [dict(r, threads=int(r["threads"]), ratio=float(r["ratio"])) for r in old] + rows
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(
                file, ["model", "layout", "threads", "accuracy", "what", "torch_ms", "im2col_ms", "ratio"]
            )
            writer.writeheader()
            writer.writerows(rows)
    print(table(rows))
    if arguments.table:
        Path(arguments.table).write_text(table(rows))
    if arguments.chart:
        chart(rows, arguments.chart)


if __name__ == "__main__":
    main()
