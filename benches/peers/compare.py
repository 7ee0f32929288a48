#!/usr/bin/env python3
"""The library beside PyTorch, layer by layer and pass by pass, in one process.

    cargo build --release --features capi
    python3 benches/peers/compare.py [--file benches/thin.csv] [--threads 1] [--layout nchw] [--isa avx2]
                                     [--into docs/speed.md]

For each layer of benches/layers.csv (or another file of its kind) and each pass, calls of the library, of its textbook
(cols written out, one matrix product) and of torch take turns; the fastest of each counts. The
results are compared before they are timed. torch pads both sides of an image alike: where a layer doesn't, it gets
an image that was padded before the clock started, and needn't pad. "share" is the library's share of the FMA peak, which a
loop without memory measures here too. Prints a table, and writes it as docs/figures/NAME.csv and as
a chart, docs/figures/NAME.svg. Needs torch and, for the peak, a C compiler (`cc`).
"""
import argparse
import csv
import ctypes
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PASSES = ("forward", "backward_data", "backward_weight")
WAYS = ("ours", "textbook", "torch")
ALGORITHM = {"ours": 0, "textbook": 1}
# What oneDNN, under torch, calls the same level.
ONEDNN_ISA = {"avx512": "AVX512_CORE", "avx2": "AVX2", "portable": "SSE41"}

PEAK_C = r"""
#include <immintrin.h>
#define EACH _Pragma("GCC unroll 16") for (int i = 0; i < SUMS; i++)
#define LOOP(NAME, TARGET, V, SET, FMA)                                   \
    __attribute__((target(TARGET))) static void NAME(long rounds) {       \
        volatile float half = 0.5f, one = 1.0f;                           \
        V a = SET(half), b = SET(one), s[SUMS];                           \
        EACH s[i] = SET(one); /* each its own: the compiler may not join them */ \
        for (long r = 0; r < rounds; r++) EACH s[i] = FMA(s[i], a, b);    \
        EACH __asm__ volatile("" : : "x"(s[i]));                          \
    }
enum { SUMS = 12 };
LOOP(loop512, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps)
LOOP(loop256, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps)

/* Operations of `rounds` rounds of the widest loop that the machine has, or of vectors of 256 bits. */
double peak(long rounds, int halves) {
    if (!halves && __builtin_cpu_supports("avx512f")) return loop512(rounds), 2.0 * 16 * SUMS * rounds;
    if (__builtin_cpu_supports("fma")) return loop256(rounds), 2.0 * 8 * SUMS * rounds;
    return 0;
}
"""


def measure_peak(isa):
    """Operations per second of one thread's FMA units, held to an ISA or not; None where that isn't known."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "peak.c"), Path(folder, "peak.so")
        source.write_text(PEAK_C)
        try:
            subprocess.run(["cc", "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"no peak: {error}", file=sys.stderr)
            return None
        peak = ctypes.CDLL(str(library)).peak
        peak.restype, peak.argtypes = ctypes.c_double, [ctypes.c_long, ctypes.c_int]
        best = 0.0
        for _ in range(20):
            start = time.perf_counter()
            flops = peak(200_000, isa in ("avx2", "portable"))
            best = max(best, flops / (time.perf_counter() - start))
    return best or None


# Seconds. The threads of torch's OpenMP hold their cores for some 8 ms after a call, waiting for the next:
# whoever comes after it would have half of those cores.
PAUSE = 0.02


class Params(ctypes.Structure):
    """im2col_conv_params of include/im2col.h."""
    _fields_ = [(name, ctypes.c_uint32) for name in ("spatial_dims", "dtype", "layout", "algorithm")]
    _fields_ += [(name, ctypes.c_size_t) for name in ("batch", "in_channels", "out_channels", "groups")]
    _fields_ += [(name, ctypes.c_size_t * 3)
                 for name in ("input", "kernel", "stride", "dilation", "pad_begin", "pad_end")]


class Library:
    def __init__(self, path):
        self.calls = ctypes.CDLL(str(path))
        pointer, size, mode = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32
        scratch = [pointer, size]
        self.calls.im2col_last_error.restype = ctypes.c_char_p
        self.calls.im2col_isa.restype = ctypes.c_char_p
        self.calls.im2col_set_num_threads.argtypes = [size]
        self.calls.im2col_conv_create.argtypes = [pointer, pointer]
        self.calls.im2col_conv_destroy.argtypes = [pointer]
        self.calls.im2col_conv_destroy.restype = None
        self.calls.im2col_conv_scratch_bytes.argtypes = [pointer, mode, pointer]
        self.calls.im2col_conv_forward.argtypes = [pointer] * 5 + scratch
        self.calls.im2col_conv_backward_data.argtypes = [pointer] * 4 + [mode] + scratch
        self.calls.im2col_conv_backward_weight.argtypes = [pointer] * 4 + [mode] + scratch

    def isa(self):
        return self.calls.im2col_isa().decode()

    def check(self, status):
        if status:
            raise RuntimeError(self.calls.im2col_last_error().decode())


class Layer:
    """A row of the file."""

    def __init__(self, row):
        sizes = lambda key: [int(n) for n in row[key].split("x")]
        self.name, self.batch, self.groups = row["name"], int(row["mb"]), int(row["g"])
        self.channels, self.outputs = int(row["ic"]), int(row["oc"])
        self.input, self.kernel, self.output = sizes("in"), sizes("k"), sizes("out")
        self.stride, self.dilation = sizes("s"), sizes("d")
        self.pad_begin, self.pad_end = sizes("pl"), sizes("pr")

    def flops(self):
        terms = self.channels // self.groups * math.prod(self.kernel)
        return 2 * self.batch * self.outputs * math.prod(self.output) * terms


class Plan:
    """A plan of the library, with scratch for all passes."""

    def __init__(self, library, layer, layout, algorithm, torch):
        self.library = library
        axes = len(layer.input)
        params = Params(axes, 0, layout, algorithm, layer.batch, layer.channels, layer.outputs,
                        layer.groups)
        for name in ("input", "kernel", "stride", "dilation", "pad_begin", "pad_end"):
            getattr(params, name)[:axes] = getattr(layer, name)
        self.plan = ctypes.c_void_p()
        library.check(library.calls.im2col_conv_create(ctypes.byref(params), ctypes.byref(self.plan)))
        self.scratch = []
        for number in range(len(PASSES)):
            size = ctypes.c_size_t()
            library.check(library.calls.im2col_conv_scratch_bytes(self.plan, number, ctypes.byref(size)))
            self.scratch.append(torch.empty(size.value, dtype=torch.uint8))

    def __del__(self):
        self.library.calls.im2col_conv_destroy(self.plan)

    def run(self, number, a, b, to):
        calls, scratch = self.library.calls, self.scratch[number]
        tail = (scratch.data_ptr(), scratch.numel())
        a, b, to = a.data_ptr(), b.data_ptr(), to.data_ptr()
        if number == 0:
            status = calls.im2col_conv_forward(self.plan, a, b, None, to, *tail)
        elif number == 1:
            status = calls.im2col_conv_backward_data(self.plan, a, b, to, 0, *tail)
        else:
            status = calls.im2col_conv_backward_weight(self.plan, a, b, to, 0, *tail)
        self.library.check(status)


def calls_of(layer, library, layout, torch):
    """For each pass, a call for each of WAYS; every call gives its result, as torch shapes it."""
    def tensor(count, channels, sizes):
        # torch calls the memory of [N, sizes.., C] by the shape [N, C, sizes..].
        shape = (count, channels, *sizes) if layout == 0 else (count, *sizes, channels)
        dense = torch.rand(shape) * 2 - 1
        return dense if layout == 0 else dense.movedim(-1, 1)

    x = tensor(layer.batch, layer.channels, layer.input)
    w = tensor(layer.outputs, layer.channels // layer.groups, layer.kernel)
    dy = tensor(layer.batch, layer.outputs, layer.output)
    results = [torch.full_like(like, math.nan) for like in (dy, x, w)]
    operands = [(x, w), (w, dy), (x, dy)]
    axes = len(layer.input)
    padded, pad, part = x, layer.pad_begin, (slice(None),)
    if layer.pad_begin != layer.pad_end:
        both = zip(reversed(layer.pad_begin), reversed(layer.pad_end))
        padded, pad = torch.nn.functional.pad(x, [n for pair in both for n in pair]), [0] * axes
        if layout == 1:
            padded = padded.contiguous(memory_format=torch.channels_last)
        part = (..., *(slice(n, n + size) for n, size in zip(layer.pad_begin, layer.input)))
    shape = (layer.stride, pad, layer.dilation)

    def ours(way):
        plan = Plan(library, layer, layout, ALGORITHM[way], torch)
        def call(number):
            def run():
                plan.run(number, *operands[number], results[number])
                return results[number]
            return run
        return [call(number) for number in range(len(PASSES))]

    forward = (torch.conv1d, torch.conv2d, torch.conv3d)[axes - 1]
    def backward(which, index):
        mask = [number == index for number in range(3)]
        return lambda: torch.ops.aten.convolution_backward(
            dy, padded, w, None, *shape, False, [0] * axes, layer.groups, mask)[which]
    grad_input = backward(0, 0)
    theirs = [lambda: forward(padded, w, None, *shape, layer.groups), lambda: grad_input()[part], backward(1, 1)]
    return list(zip(ours("ours"), ours("textbook"), theirs))


def fastest(calls, rounds, pause):
    """Seconds of the fastest run of each call; the calls take turns, with a pause before each."""
    repeats = []
    for call in calls:
        call()
        start = time.perf_counter()
        call()
        repeats.append(max(1, min(500, int(0.03 / (time.perf_counter() - start)))))
    best = [math.inf] * len(calls)
    for _ in range(rounds):
        for index, (call, count) in enumerate(zip(calls, repeats)):
            time.sleep(pause)
            start = time.perf_counter()
            for _ in range(count):
                call()
            best[index] = min(best[index], (time.perf_counter() - start) / count)
    return best


def compare(layer, library, args, torch):
    """GFLOP/s of each way, for each pass."""
    rows, pause = [], PAUSE if args.threads > 1 else 0
    for name, calls in zip(PASSES, calls_of(layer, library, args.layout == "nhwc", torch)):
        expected = calls[-1]()
        for way, call in zip(WAYS, calls[:-1]):
            off = (call() - expected).norm() / expected.norm()
            if not off < 1e-4:
                raise RuntimeError(f"{layer.name}: {name} of {way} is off by {off:.1e}")
        speeds = [layer.flops() / seconds / 1e9 for seconds in fastest(calls, args.rounds, pause)]
        rows.append(dict(zip(WAYS, speeds), layer=layer.name, mflop=layer.flops() / 1e6, **{"pass": name}))
    return rows


def geomean(numbers):
    numbers = list(numbers)
    return math.exp(sum(map(math.log, numbers)) / len(numbers))


def write_csv(path, rows, setting):
    fields = ["layer", "mflop", "pass", *WAYS, "ratio", "share"]
    with open(path, "w", newline="") as file:
        file.write(f"# {setting}; GFLOP/s\n")
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            numbers = {key: f"{row[key]:.3g}" for key in ("ratio", "share") if row[key] is not None}
            speeds = {way: f"{row[way]:.1f}" for way in WAYS}
            writer.writerow({**row, **numbers, **speeds, "mflop": f"{row['mflop']:.1f}"})


STYLE = """
svg { font: 12px system-ui, sans-serif; background: #fff }
text { fill: #1f2328 } .small { font-size: 11px; fill: #59636e } .grid { stroke: #d1d9e0 }
.ours { fill: #0969da } .torch { fill: #bc4c00 } .textbook { fill: none; stroke: #59636e; stroke-width: 1.5 }
.peak { stroke: #1f2328; stroke-dasharray: 4 3 } .link { stroke: #afb8c1; stroke-width: 2 } .paper { fill: #fff }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117 } text { fill: #f0f6fc } .small { fill: #9198a1 } .grid { stroke: #3d444d }
  .ours { fill: #4493f8 } .torch { fill: #f0883e } .textbook { stroke: #9198a1 }
  .peak { stroke: #f0f6fc } .link { stroke: #656c76 } .paper { fill: #0d1117 }
}"""


def mark(way, x, y):
    if way == "ours":
        return f'<circle class="ours" cx="{x:.1f}" cy="{y}" r="4.5"/>'
    if way == "torch":
        return f'<path class="torch" d="M{x:.1f} {y - 5.5}l5.5 5.5l-5.5 5.5l-5.5 -5.5z"/>'
    return f'<path class="textbook" d="M{x - 3.5:.1f} {y - 3.5}l7 7m0 -7l-7 7"/>'


def write_svg(path, rows, peak, setting):
    """A row for each layer, a panel for each pass, a mark for each way."""
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    left, top, line, width, gap = 112, 84, 22, 250, 24
    height, panels = line * len(layers), len(PASSES)
    total = left + panels * (width + gap)
    limit = max([row[way] for row in rows for way in WAYS] + [peak or 0]) * 1.06
    step = next(s for s in (1, 2, 5, 10, 25, 50, 100, 200, 500, 1000, 10_000) if limit / s <= 6)
    names = {"ours": "im2col", "torch": "PyTorch", "textbook": "textbook (cols written out)"}
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {top + height + 40}" '
           f'width="{total}" height="{top + height + 40}" role="img" aria-label="GFLOP/s of each layer and pass">',
           f"<style>{STYLE}</style>", '<rect class="paper" width="100%" height="100%"/>',
           f'<text x="12" y="22" font-weight="600">GFLOP/s, {setting}</text>']
    x = 12
    for way in WAYS:
        out += [mark(way, x + 6, 42), f'<text x="{x + 16}" y="46">{names[way]}</text>']
        x += 32 + 7 * len(names[way])
    if peak:
        out += [f'<line class="peak" x1="{x}" x2="{x + 18}" y1="42" y2="42"/>',
                f'<text x="{x + 24}" y="46">FMA peak, {peak:.0f}</text>']
    for index, layer in enumerate(layers):
        out.append(f'<text x="{left - 10}" y="{top + line * index + 15}" text-anchor="end">{layer}</text>')
    for panel, name in enumerate(PASSES):
        start = left + panel * (width + gap)
        place = lambda speed: start + width * speed / limit
        out.append(f'<text x="{start}" y="{top - 10}" font-weight="600">{name}</text>')
        for tick in range(0, int(limit) + 1, step):
            x = f"{place(tick):.1f}"
            out += [f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{top + height}"/>',
                    f'<text class="small" x="{x}" y="{top + height + 16}" text-anchor="middle">{tick}</text>']
        if peak:
            x = f"{place(peak):.1f}"
            out.append(f'<line class="peak" x1="{x}" x2="{x}" y1="{top}" y2="{top + height}"/>')
        for row in (row for row in rows if row["pass"] == name):
            y = top + line * layers.index(row["layer"]) + 11
            ends = [f"{place(row[way]):.1f}" for way in ("ours", "torch")]
            out.append(f'<line class="link" x1="{ends[0]}" x2="{ends[1]}" y1="{y}" y2="{y}"/>')
            out += [mark(way, place(row[way]), y) for way in ("textbook", "torch", "ours")]
    path.write_text("\n".join(out + ["</svg>\n"]))


def summary(rows):
    """For each pass: the geometric mean of the ratios, the worst, and how many are below 1."""
    for name in PASSES:
        ratios = [(row["ratio"], row["layer"]) for row in rows if row["pass"] == name]
        yield name, geomean(ratio for ratio, _ in ratios), min(ratios), sum(r < 1 for r, _ in ratios)


def markdown(rows, setting):
    """The table for people: GFLOP/s, and beside it the ratio to torch."""
    lines = [f"Measured: {setting}. GFLOP/s, and in brackets the ratio to PyTorch (above 1: faster).", "",
             "| layer | MFLOP | forward | backward_data | backward_weight |", "|---|--:|--:|--:|--:|"]
    for layer in dict.fromkeys(row["layer"] for row in rows):
        three = [row for row in rows if row["layer"] == layer]
        cells = " | ".join(f"{row['ours']:.1f} ({row['ratio']:.2f})" for row in three)
        lines.append(f"| {layer} | {three[0]['mflop']:.0f} | {cells} |")
    layers = len(rows) // len(PASSES)
    means = " | ".join(f"({mean:.2f})" for _, mean, _, _ in summary(rows))
    lines.append(f"| **geometric mean** | | {means} |")
    worst = " | ".join(f"({low:.2f}) {layer}" for _, _, (low, layer), _ in summary(rows))
    lines.append(f"| **worst** | | {worst} |")
    below = " | ".join(f"{count} of {layers}" for _, _, _, count in summary(rows))
    lines.append(f"| **slower than PyTorch** | | {below} |")
    books = (f"({geomean(r['textbook'] / r['torch'] for r in rows if r['pass'] == name):.2f})" for name in PASSES)
    lines.append(f"| the textbook's mean | | {' | '.join(books)} |")
    return "\n".join(lines)


def write_into(path, name, text):
    begin, end = f"<!-- {name}: begin -->\n", f"\n<!-- {name}: end -->"
    old = path.read_text()
    head, rest = old.split(begin)
    path.write_text(head + begin + text + end + rest.split(end[1:])[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layout", choices=["nchw", "nhwc"], default="nchw")
    parser.add_argument("--isa", choices=ONEDNN_ISA, help="no more than this, for torch's oneDNN too")
    parser.add_argument("--file", type=Path, default=ROOT / "benches" / "layers.csv", help="layers")
    parser.add_argument("--layers", default="", help="only layers whose name contains this")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each call")
    parser.add_argument("--library", type=Path, help="libim2col.so (default: in target/release)")
    parser.add_argument("--out", type=Path, help="what to write, without .csv and .svg")
    parser.add_argument("--into", type=Path, nargs="*", default=[],
                        help="put the table between its marks in these files")
    args = parser.parse_args()
    if args.isa:
        os.environ["IM2COL_ISA"] = args.isa
        os.environ["ONEDNN_MAX_CPU_ISA"] = ONEDNN_ISA[args.isa]
    import torch

    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    library = Library(args.library or target / "release" / "libim2col.so")
    library.check(library.calls.im2col_set_num_threads(args.threads))
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    one = measure_peak(args.isa)
    peak = one and one * args.threads / 1e9
    threads = f"{args.threads} thread" + "s" * (args.threads > 1)
    setting = f"f32, {args.layout.upper()}, {threads}, {library.isa()}, PyTorch {torch.__version__.split('+')[0]}"
    if peak:
        setting += f", FMA peak {peak:.0f} GFLOP/s"

    with open(args.file, newline="") as file:
        layers = [Layer(row) for row in csv.DictReader(file) if args.layers in row["name"]]
    print(setting)
    print(f"{'layer':<16}{'MFLOP':>8}  {'pass':<16}" + "".join(f"{way:>10}" for way in WAYS) + "   ratio  share")
    rows = []
    with torch.no_grad():
        for layer in layers:
            for row in compare(layer, library, args, torch):
                row["ratio"], row["share"] = row["ours"] / row["torch"], peak and row["ours"] / peak
                rows.append(row)
                speeds = "".join(f"{row[way]:10.1f}" for way in WAYS)
                share = f"{100 * row['share']:5.0f} %" if peak else ""
                print(f"{row['layer']:<16}{row['mflop']:8.1f}  {row['pass']:<16}{speeds}{row['ratio']:8.2f}{share}",
                      flush=True)
    for name, mean, (low, layer), below in summary(rows):
        print(f"{name}: {mean:.2f} of PyTorch in the geometric mean, at worst {low:.2f} ({layer}), "
              f"{below} of {len(layers)} below 1")
    table = "" if args.file.stem == "layers" else f"{args.file.stem}-"
    name = f"pytorch-{table}{args.layout}-{args.threads}" + (f"-{args.isa}" if args.isa else "")
    out = args.out or ROOT / "docs" / "figures" / name
    out.parent.mkdir(parents=True, exist_ok=True)
    write_csv(out.with_name(out.name + ".csv"), rows, setting)
    write_svg(out.with_name(out.name + ".svg"), rows, peak, setting)
    for path in args.into:
        write_into(path, out.name, markdown(rows, setting))


if __name__ == "__main__":
    main()
