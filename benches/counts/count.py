#!/usr/bin/env python3
"""Counts the instructions of forward passes on aarch64 under qemu: the table of docs/counts.md.

usage: python3 benches/counts/count.py [--limits] [--manifest-path PATH] [LAYER ..]

A perfect pass is FMLAs / 0.85: four products to an instruction, and 15 of 100 instructions for all
else. --limits fails where a pass of the library's executes more than LIMITS allows, beside
the perfect one; without layers it counts those of LIMITS. PATH is a manifest with the bench `counts`
other than the project's own. Needs qemu-user, the cross linker and cc.
"""
import argparse
import csv
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = "aarch64-unknown-linux-gnu"
# The program that counts each, as cargo knows it.
LIBRARY = ("im2col", "--bench", "counts")
GEMM = ("bench_gemm", "--bin", "counts_gemm")
WAYS = {"implicit": LIBRARY, "explicit": LIBRARY, "gemm": GEMM, "tile": LIBRARY}
# Layers that Winograd's tiles can compute.
TILED = ["r50_2b_3x3", "r50_3b_3x3", "r50_4b_3x3", "r50_5b_3x3", "vgg_3_2", "cifar_3x3"]
# How far the sum over what tiles give may be from the others', for each output: theirs are rounded.
ROUNDED = 1e-4
DENSE = ["r50_conv1", "r50_2a_1x1", "r50_2b_3x3", "r50_2c_1x1", "r50_3ds_1x1s2", "r50_3b_3x3s2",
         "r50_3b_3x3", "r50_4b_3x3", "r50_5b_3x3", "r50_5c_1x1", "vgg_3_2", "deeplab_d2"]
THIN = ["cifar_3x3", "lenet_1", "lenet_2", "rnxt_g32", "mbn_dw_112", "mbn_dw_14", "mbn_dw_s2"]
# A little more than was counted: a regression shows.
LIMITS = {"r50_conv1": 1.15, "r50_2a_1x1": 1.11, "r50_3b_3x3s2": 1.15, "r50_4b_3x3": 1.09, "r50_5b_3x3": 1.15,
          "cifar_3x3": 1.32, "lenet_2": 1.5, "mbn_dw_112": 2.9, "mbn_dw_14": 4.3, "mbn_dw_s2": 6.1}


def build(what, manifest):
    """Its program."""
    # Without the lines of backtraces: less to compile.
    env = dict(os.environ, CARGO_PROFILE_RELEASE_DEBUG="0", CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="aarch64-linux-gnu-gcc")
    command = ["cargo", "build", "--release", "-p", *what, "--target", TARGET,
               "--manifest-path", manifest, "--message-format", "json-render-diagnostics"]
    said = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout
    return next(message["executable"] for message in map(json.loads, said.splitlines()) if message.get("executable"))


def count(program, plugin, layer, way):
    """Instructions of one call, those of two less those of one, and the sums of what the calls gave."""
    totals, sums = [], []
    for calls in ("1", "2"):
        command = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", "-plugin", plugin, program, layer, way, calls]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        totals.append(int(re.search(r"instructions (\d+)", done.stderr)[1]))
        sums.append(float(re.search(r"^sum (\S+)$", done.stdout, re.M)[1]))
    return totals[1] - totals[0], sums


def outputs(row):
    return int(row["mb"]) * int(row["oc"]) * math.prod(map(int, row["out"].split("x")))


def products(row):
    return outputs(row) * int(row["ic"]) // int(row["g"]) * math.prod(map(int, row["k"].split("x")))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limits", action="store_true")
    parser.add_argument("--manifest-path", type=Path, default=ROOT / "Cargo.toml", metavar="PATH")
    parser.add_argument("layers", nargs="*", metavar="LAYER")
    options = parser.parse_args()
    limits, names = options.limits, options.layers or (list(LIMITS) if options.limits else DENSE + THIN)
    ways = list(WAYS)[:1] if limits else list(WAYS)
    rows = {row["name"]: row for row in csv.DictReader(open(ROOT / "benches" / "layers.csv"))}
    programs = {what: build(what, options.manifest_path) for what in {WAYS[way] for way in ways}}
    over = []
    with tempfile.TemporaryDirectory() as folder:
        plugin = f"{folder}/insns.so"
        source = ROOT / "benches" / "counts" / "insns.c"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", plugin, source], check=True)
        print("| layer | FMLAs, millions | implicit | matrixmultiply | gemm | tile |\n|---|--:|--:|--:|--:|--:|")
        for name in names:
            perfect = products(rows[name]) / 4 / 0.85
            of = [way for way in ways if way != "tile" or name in TILED]
            counts, sums = zip(*(count(programs[WAYS[way]], plugin, name, way) for way in of))
            counts, exact = [n / perfect for n in counts], sums[0][0]
            for way, of_way in zip(of, sums):
                allowed = outputs(rows[name]) * ROUNDED if way == "tile" else 0
                assert all(abs(n - exact) <= allowed for n in of_way), f"{name}: {way} gives {of_way}, not {exact}"
            shares = " | ".join(f"{share:.2f}" for share in counts)
            print(f"| {name} | {perfect * 0.85 / 1e6:.1f} | {shares} |", flush=True)
            # Limits are of two decimals, as the table is.
            if limits and round(counts[0], 2) > LIMITS[name]:
                over.append(f"{name}: {counts[0]:.3f} of a perfect pass, allowed {LIMITS[name]}")
    sys.exit("\n".join(over) if over else 0)


if __name__ == "__main__":
    main()
