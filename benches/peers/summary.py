#!/usr/bin/env python3
"""What the tables of docs/speed.md come to: geometric means, and what is slower than PyTorch by a tenth or more.

    python3 benches/peers/summary.py             # writes its part of docs/speed.md, and docs/figures/speed.svg
    python3 benches/peers/summary.py --check     # fails where these are not what the tables say

Measures nothing: it reads docs/figures/pytorch-*.csv, which compare.py writes.
"""
import argparse
import csv
import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PASSES = ("forward", "backward_data", "backward_weight")
# Figures, and what they are of.
SETS = {
    "nchw-1": "20 public layers",
    "random-nchw-1": "100 layers drawn at random",
    "thin-nchw-1": "52 thin layers",
    "nhwc-1": "20 public layers, channels last",
    "thin-nhwc-1": "52 thin layers, channels last",
    "nchw-2": "20 public layers, two threads",
    "nchw-1-avx2": "20 public layers, AVX2 on a Zen 3",
}
SLOWER = 0.9
BEGIN, END = "<!-- summary: begin -->\n", "\n<!-- summary: end -->"

STYLE = """
svg { font: 14px system-ui, sans-serif; background: #fff }
text { fill: #1f2328 } .small { font-size: 12px; fill: #59636e } .grid { stroke: #d1d9e0 } .one { stroke: #1f2328; stroke-width: 1.5 }
.forward { fill: #0969da } .backward_data { fill: #8250df } .backward_weight { fill: #1a7f37 } .worst { fill: #bc4c00 } .paper { fill: #fff }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117 } text { fill: #f0f6fc } .small { fill: #9198a1 } .grid { stroke: #3d444d } .one { stroke: #f0f6fc }
  .forward { fill: #4493f8 } .backward_data { fill: #ab7df8 } .backward_weight { fill: #3fb950 } .worst { fill: #f0883e } .paper { fill: #0d1117 }
}"""


def read(name):
    """The setting, and {pass: [(ratio, layer)]}."""
    with open(DOCS / "figures" / f"pytorch-{name}.csv", newline="") as file:
        file.readline()
        found = {key: [] for key in PASSES}
        for row in csv.DictReader(file):
            found[row["pass"]].append((float(row["ratio"]), row["layer"]))
    return found


def mean(ratios):
    return math.exp(sum(math.log(ratio) for ratio, _ in ratios) / len(ratios))


def geometries():
    """What each layer is, in words."""
    words = {}
    for name in ("layers", "thin", "random"):
        for row in csv.DictReader(open(ROOT / "benches" / f"{name}.csv", newline="")):
            more = [f"{row['g']} groups"] * (row["g"] != "1")
            more += [f"stride {row['s']}"] * (set(row["s"]) - set("1x") != set())
            more += [f"dilation {row['d']}"] * (set(row["d"]) - set("1x") != set())
            words[row["name"]] = ", ".join([f"{row['ic']} to {row['oc']} channels", f"{row['k']} on {row['in']}", f"batch {row['mb']}", *more])
    return words


def markdown(sets):
    lines = ["| layers | forward | backward_data | backward_weight | slower than PyTorch |", "|---|--:|--:|--:|--:|"]
    for name, found in sets.items():
        cells = " | ".join(f"**{mean(found[key]):.2f}** (worst {min(found[key])[0]:.2f})" for key in PASSES)
        below = sum(ratio < 1 for key in PASSES for ratio, _ in found[key])
        lines.append(f"| {SETS[name]} | {cells} | {below} of {sum(map(len, found.values()))} |")
    lines += ["", f"Slower than PyTorch by a tenth or more ({sum(r < SLOWER for f in sets.values() for k in PASSES for r, _ in f[k])} "
              f"of {sum(len(f[k]) for f in sets.values() for k in PASSES)} figures):", "",
              "<details><summary>every one of them</summary>", "", "| set | layer | is | pass | of PyTorch's speed |", "|---|---|---|---|--:|"]
    words = geometries()
    for name, found in sets.items():
        losses = sorted((ratio, layer, key) for key in PASSES for ratio, layer in found[key] if ratio < SLOWER)
        lines += [f"| {SETS[name]} | `{layer}` | {words[layer]} | {key} | {ratio:.2f} |" for ratio, layer, key in losses]
    return "\n".join([*lines, "", "</details>"])


def picture(sets):
    """A row for each set, a bar for each pass, a mark where its worst layer lies."""
    left, top, line, bar, width = 280, 78, 66, 15, 400
    limit = 0.5 * math.ceil(2.2 * max(mean(found[key]) for found in sets.values() for key in PASSES))
    place = lambda ratio: left + width * ratio / limit
    height = top + line * len(sets)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 60} {height + 44}" width="{left + width + 60}" '
           f'height="{height + 44}" role="img" aria-label="Speed of im2col over PyTorch by set of layers and pass">',
           f"<style>{STYLE}</style>", '<rect class="paper" width="100%" height="100%"/>',
           '<text x="12" y="26" font-size="16" font-weight="600">Times as fast as PyTorch (oneDNN), geometric mean over layers</text>']
    x = 12
    for key in PASSES:
        out += [f'<rect class="{key}" x="{x}" y="42" width="12" height="12" rx="2"/>', f'<text x="{x + 18}" y="53">{key}</text>']
        x += 40 + 8 * len(key)
    out += [f'<path class="worst" d="M{x} 48l5 -5l5 5l-5 5z"/>', f'<text x="{x + 16}" y="53">the worst layer</text>']
    for tick in range(0, int(2 * limit) + 1):
        at = f"{place(tick / 2):.1f}"
        out.append(f'<line class="{"one" if tick == 2 else "grid"}" x1="{at}" x2="{at}" y1="{top}" y2="{height}"/>')
        out.append(f'<text class="small" x="{at}" y="{height + 16}" text-anchor="middle">{tick / 2:g}</text>')
    out.append(f'<text class="small" x="{place(1):.1f}" y="{height + 34}" text-anchor="middle">as fast as PyTorch</text>')
    for index, (name, found) in enumerate(sets.items()):
        y = top + line * index + 8
        out.append(f'<text x="{left - 14}" y="{y + 28}" text-anchor="end">{SETS[name]}</text>')
        for n, key in enumerate(PASSES):
            middle, end = y + n * (bar + 2) + bar / 2, place(mean(found[key]))
            out.append(f'<rect class="{key}" x="{left}" y="{middle - bar / 2}" width="{end - left:.1f}" height="{bar}" rx="2"/>')
            out.append(f'<text class="small" x="{end + 6:.1f}" y="{middle + 4.5}">{mean(found[key]):.2f}</text>')
            out.append(f'<path class="worst" stroke="#fff" d="M{place(min(found[key])[0]) - 5:.1f} {middle}l5 -5l5 5l-5 5z"/>')
    return "\n".join([*out, "</svg>\n"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    sets = {name: read(name) for name in SETS}
    page, figure = DOCS / "speed.md", DOCS / "figures" / "speed.svg"
    old = page.read_text()
    head, rest = old.split(BEGIN)
    made = {page: head + BEGIN + markdown(sets) + END + rest.split(END[1:])[1], figure: picture(sets)}
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    if args.check:
        sys.exit(f"stale: {', '.join(map(str, stale))}: run python3 benches/peers/summary.py" if stale else 0)
    for path, text in made.items():
        path.write_text(text)


if __name__ == "__main__":
    main()
