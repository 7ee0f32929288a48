#!/usr/bin/env python3
"""im2col beside oneDNN called directly: one thread, f32, every way in which a program can have either.

    python3 benches/peers/strict/strict.py setup                     # once: oneDNN from PyPI (2 GB), and both programs
    python3 benches/peers/strict/strict.py time                      # public and random layers, some 10 minutes
    python3 benches/peers/strict/strict.py time --only r50_4b --csv benches/layers.csv

PyTorch's convolution is oneDNN behind a framework: tensors are put into oneDNN's order and back in every call, and 1x1 layers
go to a matrix library. Here nothing is between the clock and oneDNN, so the ratios are smaller, and say more.

Both sides compute the same layer of the same numbers; sums of their results are compared first. Then all ways of both take turns, in bursts of
some milliseconds, and the fastest call of each counts. oneDNN tries up to six of its own implementations for each way and keeps
the fastest. The FMA peak is measured beside every layer. A ratio is oneDNN's time over ours: above 1 im2col is faster. It compares

    nchw, nhwc        tensors and weights as the caller has them, at the start and at the end of the call
    nchw_p, nhwc_p    the same tensors, weights packed beforehand on both sides
    best              the fastest way of each side, `blocked` among oneDNN's: all its tensors in its own order

The share of the peak counts real products alone: those of a tap that meets the padding are left out.
"""
import argparse
import csv
import math
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HOME = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "strict"
PASSES = ["forward", "backward_data", "backward_weight"]
TERMS = ["nchw", "nhwc", "nchw_p", "nhwc_p", "best"]


def sizes(text):
    return [int(size) for size in text.split("x")]


def layers(paths, only):
    for path in paths:
        for row in csv.DictReader(open(path)):
            if only in row["name"]:
                yield row


def line(row):
    return " ".join(["layer", *(row[key] for key in ("mb", "g", "ic", "oc", "in", "k", "s", "d", "pl", "pr", "out"))])


def operations(row):
    """Two for each product, those with the padding among them, as everybody counts."""
    return 2 * int(row["mb"]) * int(row["oc"]) * math.prod(sizes(row["out"])) * (int(row["ic"]) // int(row["g"])) * math.prod(sizes(row["k"]))


def real(row):
    """The share of the products that don't meet the padding."""
    share = 1.0
    for size, taps, stride, dilation, pad, outputs in zip(*(sizes(row[key]) for key in ("in", "k", "s", "d", "pl", "out"))):
        met = sum(0 <= o * stride + k * dilation - pad < size for o in range(outputs) for k in range(taps))
        share *= met / (outputs * taps)
    return share


def kind(row):
    taps, steps = set(sizes(row["k"])), set(sizes(row["s"]) + sizes(row["d"]))
    channels = min(int(row["ic"]), int(row["oc"])) // int(row["g"])
    if int(row["g"]) > 1 and channels <= 1:
        return "depthwise"
    if channels < 16:
        return "thin: fewer than 16 channels a group"
    if taps == {1}:
        return "1x1"
    return "dense" if steps == {1} else "dense, strided or dilated"


class Side:
    """A program that computes, pinned to a core."""

    def __init__(self, command, core, **environment):
        self.process = subprocess.Popen(["taskset", "-c", str(core), *map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, bufsize=1, env={**os.environ, "OMP_NUM_THREADS": "1", **environment})
        self.name = self.process.stdout.readline().strip().removeprefix("ready ")

    def ask(self, request):
        self.process.stdin.write(request + "\n")
        said = self.process.stdout.readline().strip()
        if not said or said.startswith("error"):
            sys.exit(f"{self.name}: {request!r}: {said or 'it ended'}")
        return said

    def ways(self, row):
        return [word.split("=") for word in self.ask(line(row)).split()[1:]]


def setup():
    HOME.mkdir(parents=True, exist_ok=True)
    venv = HOME / "venv"
    if not (venv / "bin" / "pip").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin" / "pip", "install", "-q", "onednn==2026.1.0", "onednn-devel==2026.1.0"], check=True)
    build(venv)


def build(venv):
    subprocess.run(["g++", "-O2", "-std=c++17", f"-I{venv}/include", Path(__file__).with_name("onednn.cpp"), "-o", HOME / "onednn",
                    f"-L{venv}/lib", "-l:libdnnl.so.3", f"-Wl,-rpath,{venv}/lib", "-Wl,--allow-shlib-undefined"], check=True)


def ours():
    """The program of im2col's side, built if need be."""
    import json
    command = ["cargo", "bench", "-q", "--bench", "strict", "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = [json.loads(message) for message in built.splitlines() if message.startswith("{")]
    return next(message["executable"] for message in reversed(found) if message.get("executable") and message["target"]["name"] == "strict")


def check(row, sides, ways):
    """Every way of every side makes the same."""
    for name in PASSES:
        found = {}
        for side, names in zip(sides, ways):
            for way, _ in names:
                if way.startswith(name + ":"):
                    found[side.name, way] = [float(word) for word in side.ask(f"sum {way}").split()]
        if found:
            (_, amount), *_ = found.values()
            sums = [value for value, _ in found.values()]
            if not max(sums) - min(sums) <= 1e-5 * amount + 1e-9:
                sys.exit(f"{row['name']}: {name} differs: {found}")


def measure(row, sides, rounds, milliseconds):
    """Seconds of every way, and of one operation at the FMA peak."""
    ways = [side.ways(row) for side in sides]
    check(row, sides, ways)
    best, names, peak = {}, {}, math.inf
    for _ in range(rounds):
        peak = min(peak, float(sides[0].ask("time peak 2")))
        for side, each in zip(sides, ways):
            for way, name in each:
                key = side is sides[0], way
                best[key] = min(best.get(key, math.inf), float(side.ask(f"time {way} {milliseconds}")))
                names[key] = name
    return best, names, peak


def ratios(best, name):
    """oneDNN's time over ours at the same terms, where both have them."""
    found = {}
    for terms in TERMS[:4]:
        one_shot = f"{name}:{terms.removesuffix('_p')}"
        if terms.endswith("_p") and name == "backward_weight":
            continue
        # Who packs beforehand may as well not.
        mine = [best[True, way] for way in {f"{name}:{terms}", one_shot} if (True, way) in best]
        theirs = [best[False, way] for way in {f"{name}:{terms}", one_shot} if (False, way) in best]
        if mine and theirs:
            found[terms] = min(theirs) / min(mine)
    mine, theirs = ([time for (side, way), time in best.items() if side == ours and way.startswith(name + ":")] for ours in (True, False))
    if mine and theirs:
        found["best"] = min(theirs) / min(mine)
    return found


def mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def table(title, groups):
    print(f"\n| {title} | " + " | ".join(f"{name} {terms}" for terms in ("best", "nchw", "nhwc") for name in ("fwd", "dX", "dW")) + " |\n|---|" + "--:|" * 9)
    for group, found in groups.items():
        cells = []
        for terms in ("best", "nchw", "nhwc"):
            for name in PASSES:
                values = found.get((name, terms))
                cells.append(f"{mean(values):.2f} ({min(values):.2f})" if values else "-")
        print(f"| {group} ({max(map(len, found.values()))}) | " + " | ".join(cells) + " |")


def report(results):
    sets, kinds, all_of, worst, shares = defaultdict(lambda: defaultdict(list)), defaultdict(lambda: defaultdict(list)), defaultdict(list), [], defaultdict(list)
    for row, best, peak in results:
        for name in PASSES:
            for terms, ratio in ratios(best, name).items():
                sets[row["set"] if row["set"] == "public" else "others"][name, terms].append(ratio)
                kinds[kind(row)][name, terms].append(ratio)
                all_of[name, terms].append(ratio)
                worst.append((ratio, row["name"], name, terms))
            mine = min((time for (ours, way), time in best.items() if ours and way.startswith(name + ":")), default=None)
            if mine:
                shares[kind(row), name].append(operations(row) * real(row) * peak / mine)
    print("\nGeometric means of oneDNN's time over ours, and the worst layer of each.")
    table("layers", sets)
    table("kind", kinds)
    print("\n| kind | " + " | ".join(f"share of the peak, {name}" for name in PASSES) + " |\n|---|--:|--:|--:|")
    for group in kinds:
        print(f"| {group} | " + " | ".join(f"{100 * mean(shares[group, name]):.0f} %" for name in PASSES) + " |")
    print("\nWorst at the same terms:")
    for ratio, layer, name, terms in sorted(worst)[:25]:
        print(f"  {ratio:.2f} {layer} {name} {terms}")
    figure = lambda terms: " / ".join(f"{mean(all_of[name, terms]):.2f}" for name in PASSES if all_of[name, terms])
    print("\nstrict: " + "; ".join(f"{terms} {figure(terms)}" for terms in TERMS) + f"; worst {min(worst)[0]:.2f}")


def time(args):
    sides = [Side([ours()], args.core), Side([HOME / "onednn"], args.core, LD_LIBRARY_PATH=str(HOME / "venv/lib"),
                                             OCL_ICD_FILENAMES=str(HOME / "venv/lib/libintelocl.so"))]
    print(f"{sides[0].name} beside {sides[1].name}, one core, f32")
    results = []
    paths = args.csv or [ROOT / "benches/layers.csv", ROOT / "benches/random.csv"]
    out = open(args.out, "w") if args.out else None
    for number, row in enumerate(layers(paths, args.only)):
        if number % args.every != args.skip:
            continue
        best, names, peak = measure(row, sides, args.rounds, args.milliseconds)
        results.append((row, best, peak))
        gflops = lambda key: operations(row) / best[key] / 1e9
        print(f"{row['name']:18s} peak {1e-9 / peak:5.0f}", *(f"{name}: " + " ".join(f"{terms} {ratio:.2f}" for terms, ratio in ratios(best, name).items()) + ";" for name in PASSES),
              flush=True)
        for (mine, way), time in best.items():
            if out:
                print(row["set"], row["name"], "im2col" if mine else "onednn", way, f"{gflops((mine, way)):.2f}", names[mine, way], f"{1e-9 / peak:.1f}", sep=",", file=out, flush=True)
    if results:
        report(results)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["setup", "time"])
    parser.add_argument("--csv", nargs="*", type=Path, help="layers; without it benches/layers.csv and random.csv")
    parser.add_argument("--only", default="", help="layers with this in their name")
    parser.add_argument("--every", type=int, default=1, help="only every so many-th layer")
    parser.add_argument("--skip", type=int, default=0, help="layers to leave out at first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--milliseconds", type=float, default=10, help="of each burst")
    parser.add_argument("--core", type=int, default=1)
    parser.add_argument("--out", help="a CSV of all figures")
    args = parser.parse_args()
    setup() if args.command == "setup" else time(args)


if __name__ == "__main__":
    main()
