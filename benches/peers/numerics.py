#!/usr/bin/env python3
"""How far results are off, and what denormals cost: the tables of docs/numerics.md.

    cargo build --release --features capi
    python3 benches/peers/numerics.py [--doc docs/numerics.md]

Errors: layers whose sums have more and more terms, on normally distributed f32. Every algorithm and
ISA of the library, and torch, against torch in f64 on the same numbers. An ulp here is 2^-23 of the
root mean square of the exact result: near zero an element's own ulp says nothing about the sum.
Denormals: each pass with none, with one input in ten, and with all inputs denormal; the seconds are
the thread's own, so that other processes don't count. Prints tables, writes
docs/figures/errors.csv and .svg. Needs torch.
"""
import argparse
import csv
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

from compare import PASSES, ROOT, STYLE, Layer, Library, Plan

# Channels (of forward and backward_data), or batch and image size (of backward_weight).
CHANNELS = (1, 4, 16, 64, 256, 1024)
PIXELS = ((1, 4), (1, 8), (1, 16), (1, 32), (2, 64), (4, 96))
COLOURS = {"torch": "#bc4c00", "textbook": "#59636e", "avx512": "#0969da", "avx2": "#1a7f37",
           "portable": "#8250df", "neon": "#0969da"}


def layer(batch, channels, outputs, side, kernel=3, groups=1):
    pad = kernel // 2
    sizes = {"in": side, "k": kernel, "out": side, "s": 1, "d": 1, "pl": pad, "pr": pad}
    row = {key: f"{n}x{n}" for key, n in sizes.items()}
    return Layer({"name": "", "mb": batch, "g": groups, "ic": channels, "oc": outputs, **row})


def cases():
    """A pass, the layer, and the terms of its sums."""
    for channels in CHANNELS:
        for number in (0, 1):
            yield number, layer(1, channels, channels, 12), 9 * channels
    for batch, side in PIXELS:
        yield 2, layer(batch, 8, 8, side), batch * side * side


def tensors(case, torch):
    torch.manual_seed(0)
    x = torch.randn(case.batch, case.channels, *case.input)
    w = torch.randn(case.outputs, case.channels // case.groups, *case.kernel)
    return x, w, torch.randn(case.batch, case.outputs, *case.output)


def theirs(number, case, x, w, dy, torch):
    shape = (case.stride, case.pad_begin, case.dilation)
    if number == 0:
        return torch.conv2d(x, w, None, *shape, case.groups)
    mask = [number == 1, number == 2, False]
    return torch.ops.aten.convolution_backward(
        dy, x, w, None, *shape, False, [0, 0], case.groups, mask)[number - 1]


def ours(library, number, case, algorithm, x, w, dy, torch):
    plan = Plan(library, case, 0, algorithm, torch)
    to = torch.full_like((dy, x, w)[number], math.nan)
    operands = [(x, w), (w, dy), (x, dy)][number]
    plan.run(number, *operands, to)
    return to, lambda: plan.run(number, *operands, to)


def errors(library, torch):
    """Root mean square and largest error, in ulps, of each case and way."""
    rows = []
    for number, case, terms in cases():
        x, w, dy = tensors(case, torch)
        exact = theirs(number, case, x.double(), w.double(), dy.double(), torch)
        ulp = exact.square().mean().sqrt() * 2.0**-23
        ways = {"torch": theirs(number, case, x, w, dy, torch)}
        for way, algorithm in (("textbook", 1), (library.isa(), 2)):
            ways[way] = ours(library, number, case, algorithm, x, w, dy, torch)[0]
        for way, got in ways.items():
            off = (got.double() - exact).abs() / ulp
            rows.append({"pass": PASSES[number], "terms": terms, "way": way,
                         "rms": off.square().mean().sqrt().item(), "max": off.max().item()})
    return rows


def fastest(call, seconds=0.4):
    """This thread's seconds of the fastest call."""
    best, end = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.thread_time_ns()
        for _ in range(3):
            call()
        best = min(best, (time.thread_time_ns() - start) / 3e9)
    return best


def denormals(library, torch):
    """How many times as long a pass takes where inputs are denormal: one in ten, and all."""
    rows = []
    for name, case in (("dense 64x64, 3x3", layer(1, 64, 64, 28)),
                       ("depthwise 64, 3x3", layer(1, 64, 64, 28, groups=64)),
                       ("pointwise 64x64", layer(1, 64, 64, 28, kernel=1))):
        for number in range(3):
            x, w, dy = tensors(case, torch)
            data = dy if number == 1 else x
            normal = data.clone()
            hit = torch.rand_like(data) < 0.1
            _, call = ours(library, number, case, 2, x, w, dy, torch)
            seconds = []
            for denormal in (torch.zeros_like(hit), hit, torch.ones_like(hit)):
                data.copy_(torch.where(denormal, normal.sign() * 2.0**-133, normal))
                seconds.append(fastest(call))
            rows.append({"layer": name, "pass": PASSES[number],
                         "some": seconds[1] / seconds[0], "all": seconds[2] / seconds[0]})
    return rows


def on_each_isa(args):
    """The library chooses its kernels once a process: so one for each ISA."""
    results = {}
    for isa in ("avx512", "avx2", "neon", "portable"):
        command = [sys.executable, __file__, "--one", "--library", args.library]
        out = subprocess.run(command, env={**os.environ, "IM2COL_ISA": isa}, check=True, stdout=subprocess.PIPE)
        result = json.loads(out.stdout)
        if result["isa"] == isa:
            results[isa] = result
    return results


def error_table(rows, ways):
    lines = ["| pass | terms | " + " | ".join(ways) + " |", "|---|--:|" + "--:|" * len(ways)]
    for name in PASSES:
        for terms in sorted({row["terms"] for row in rows if row["pass"] == name}):
            of = {row["way"]: row for row in rows if (row["pass"], row["terms"]) == (name, terms)}
            cells = " | ".join(f"{of[way]['rms']:.2f} ({of[way]['max']:.1f})" for way in ways)
            lines.append(f"| {name} | {terms} | {cells} |")
    return lines


def denormal_table(results):
    isas = list(results)
    lines = ["| layer | pass | " + " | ".join(isas) + " |", "|---|---|" + "--:|" * len(isas)]
    for index, row in enumerate(next(iter(results.values()))["denormals"]):
        each = (results[isa]["denormals"][index] for isa in isas)
        cells = " | ".join(f"{of['some']:.2f} ({of['all']:.2f})" for of in each)
        lines.append(f"| {row['layer']} | {row['pass']} | {cells} |")
    return lines


def write_svg(path, rows, ways, setting):
    """A panel for each pass: terms to the right, the error upward, both by powers."""
    left, top, width, height, gap = 56, 84, 250, 220, 40
    total = left + len(PASSES) * (width + gap)
    low = min(row["rms"] for row in rows) * 0.8
    high = max(row["rms"] for row in rows) * 1.25
    up = lambda error: top + height * (1 - math.log(error / low) / math.log(high / low))
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {top + height + 50}" width="{total}" '
           f'height="{top + height + 50}" role="img" aria-label="error in ulps by the terms of a sum">',
           f"<style>{STYLE}</style>", '<rect class="paper" width="100%" height="100%"/>',
           f'<text x="12" y="22" font-weight="600">Root mean square error in ulps, {setting}</text>']
    for index, way in enumerate(ways):
        x = 12 + 100 * index
        out += [f'<path d="M{x} 42h18" stroke="{COLOURS[way]}" stroke-width="2"/>', f'<text x="{x + 24}" y="46">{way}</text>']
    ticks = [t for t in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low <= t <= high]
    for panel, name in enumerate(PASSES):
        start = left + panel * (width + gap)
        of = [row for row in rows if row["pass"] == name]
        terms = sorted({row["terms"] for row in of})
        across = lambda n: start + width * math.log(n / terms[0]) / math.log(terms[-1] / terms[0])
        out.append(f'<text x="{start}" y="{top - 12}" font-weight="600">{name}</text>')
        for tick in ticks:
            y = f"{up(tick):.1f}"
            out += [f'<path class="grid" d="M{start} {y}h{width}"/>',
                    f'<text class="small" x="{start - 6}" y="{y}" dy="4" text-anchor="end">{tick}</text>']
        for n in terms:
            out.append(f'<text class="small" x="{across(n):.1f}" y="{top + height + 18}" text-anchor="middle">{n}</text>')
        out.append(f'<text class="small" x="{start + width / 2}" y="{top + height + 36}" text-anchor="middle">terms</text>')
        for way in ways:
            points = sorted((row["terms"], row["rms"]) for row in of if row["way"] == way)
            path_d = " L".join(f"{across(n):.1f} {up(error):.1f}" for n, error in points)
            out.append(f'<path d="M{path_d}" fill="none" stroke="{COLOURS[way]}" stroke-width="2"/>')
    path.write_text("\n".join(out + ["</svg>\n"]))


def write_doc(path, mark, lines):
    begin, end = f"<!-- numerics.py: {mark} -->\n", f"\n<!-- numerics.py: end of {mark} -->"
    head, rest = path.read_text().split(begin)
    path.write_text(head + begin + "\n".join(lines) + end + rest.split(end[1:])[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", help="libim2col.so (default: in target/release)")
    parser.add_argument("--doc", type=Path, help="put the tables between the marks of this file")
    parser.add_argument("--one", action="store_true", help="this process's ISA alone, as JSON")
    args = parser.parse_args()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    args.library = args.library or str(target / "release" / "libim2col.so")
    import torch

    if args.one:
        library = Library(args.library)
        library.check(library.calls.im2col_set_num_threads(1))
        torch.set_num_threads(1)
        with torch.no_grad():
            result = {"isa": library.isa(), "errors": errors(library, torch), "denormals": denormals(library, torch)}
        return print(json.dumps(result))

    results = on_each_isa(args)
    first = next(iter(results.values()))
    rows = list(first["errors"])
    for isa, result in list(results.items())[1:]:
        rows += [row for row in result["errors"] if row["way"] == isa]
    ways = [*results, "textbook", "torch"]
    setting = f"f32, normal numbers, PyTorch {torch.__version__.split('+')[0]}"
    figures = ROOT / "docs" / "figures"
    with open(figures / "errors.csv", "w", newline="") as file:
        file.write(f"# {setting}; ulps\n")
        writer = csv.DictWriter(file, ["pass", "terms", "way", "rms", "max"], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, "rms": f"{row['rms']:.3f}", "max": f"{row['max']:.3f}"})
    write_svg(figures / "errors.svg", rows, ways, setting)
    tables = {"errors": error_table(rows, ways), "denormals": denormal_table(results)}
    for mark, lines in tables.items():
        print("\n".join([mark, *lines, ""]))
        if args.doc:
            write_doc(args.doc, mark, lines)


if __name__ == "__main__":
    main()
