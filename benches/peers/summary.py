#!/usr/bin/env python3
"""What the figures of docs/ come to: geometric means, what is slower than PyTorch by a tenth or more, whole networks, and the pictures.

    python3 benches/peers/summary.py             # writes its parts of README.md and docs/speed.md, and two pictures
    python3 benches/peers/summary.py --check     # fails where these are not what the figures say

Measures nothing: it reads docs/figures/pytorch-*.csv, which compare.py writes, and networks-*.csv, which networks.py writes.
"""
import argparse
import csv
import math
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PASSES = ("forward", "backward_data", "backward_weight")
# Where and when the figures were measured: to be changed with them.
MACHINE = "one core of an Intel server of 2023 (Emerald Rapids, AVX-512)"
# Figures, and what they are of.
SETS = {
    "nchw-1": "20 public layers",
    "random-nchw-1": "100 random layers (Zen 5, 0.1)",
    "thin-nchw-1": "52 thin layers",
    "nhwc-1": "20 public layers, channels last",
    "thin-nhwc-1": "52 thin layers, channels last",
    "nchw-2": "20 public layers, two threads",
    "nchw-1-avx2": "20 public layers, AVX2 alone",
}
# What the README's picture shows of them.
SHORT = ("nchw-1", "nhwc-1")
NETWORKS = {"resnet18": "ResNet-18", "resnet50": "ResNet-50", "mobilenet_v2": "MobileNetV2", "vgg16": "VGG-16", "unet": "U-Net"}
LIBRARIES = {"im2col": "im2col", "im2col tile": "im2col, Winograd", "OpenVINO": "OpenVINO", "ONNX Runtime": "ONNX Runtime",
             "ncnn": "ncnn", "ncnn Winograd": "ncnn, Winograd", "PyTorch": "PyTorch", "PyTorch nhwc": "PyTorch, channels last",
             "PyTorch compiled": "compiled", "PyTorch compiled nhwc": "compiled, channels last"}
# The bars of a network; PyTorch is the line at 1.
BARS = {"im2col": "forward", "im2col tile": "backward_data", "OpenVINO": "peer", "ONNX Runtime": "peer2"}
OURS = ("im2col", "im2col tile")
SLOWER = 0.9

STYLE = """
svg { font: 14px system-ui, sans-serif; background: #fff }
text { fill: #1f2328 } .small { font-size: 12px; fill: #59636e } .grid { stroke: #d1d9e0 } .one { stroke: #1f2328; stroke-width: 1.5 }
.forward { fill: #0969da } .backward_data { fill: #8250df } .backward_weight { fill: #1a7f37 } .worst { fill: #bc4c00 } .paper { fill: #fff }
.peer { fill: #818b98 } .peer2 { fill: #b7bfc8 }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117 } text { fill: #f0f6fc } .small { fill: #9198a1 } .grid { stroke: #3d444d } .one { stroke: #f0f6fc }
  .forward { fill: #4493f8 } .backward_data { fill: #ab7df8 } .backward_weight { fill: #3fb950 } .worst { fill: #f0883e } .paper { fill: #0d1117 }
  .peer { fill: #656c76 } .peer2 { fill: #3d444d }
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


LEFT, WIDTH, BAR = 250, 430, 14


class Picture:
    """Panels of bars, one below the other. Each has a scale of its own, on which PyTorch is 1."""

    def __init__(self):
        self.out, self.y = [], 0

    def panel(self, title, legend, rows):
        """`rows` are (label, [(class, ratio, worst or None)])."""
        limit = 0.5 * math.ceil(2.2 * max(ratio for _, bars in rows for _, ratio, _ in bars))
        place = lambda ratio: LEFT + WIDTH * ratio / limit
        self.out.append(f'<text x="12" y="{self.y + 26}" font-size="16" font-weight="600">{title}</text>')
        x = 12
        for kind, name in legend:
            mark = f'<path class="worst" d="M{x} {self.y + 48}l5 -5l5 5l-5 5z"/>' if kind == "worst" else \
                f'<rect class="{kind}" x="{x}" y="{self.y + 42}" width="12" height="12" rx="2"/>'
            self.out += [mark, f'<text x="{x + 18}" y="{self.y + 53}">{name}</text>']
            x += 40 + 8 * len(name)
        top, heights = self.y + 70, [len(bars) * (BAR + 2) + 16 for _, bars in rows]
        end = top + sum(heights)
        for tick in range(0, int(2 * limit) + 1):
            at = f"{place(tick / 2):.1f}"
            self.out.append(f'<line class="{"one" if tick == 2 else "grid"}" x1="{at}" x2="{at}" y1="{top}" y2="{end}"/>')
            self.out.append(f'<text class="small" x="{at}" y="{end + 16}" text-anchor="middle">{tick / 2:g}</text>')
        self.out.append(f'<text class="small" x="{place(1):.1f}" y="{end + 32}" text-anchor="middle">as fast as PyTorch</text>')
        for (label, bars), height in zip(rows, heights):
            y = top + 8
            self.out.append(f'<text x="{LEFT - 14}" y="{y + (height - 16) / 2 + 4:.1f}" text-anchor="end">{label}</text>')
            for n, (kind, ratio, worst) in enumerate(bars):
                middle, right = y + n * (BAR + 2) + BAR / 2, place(ratio)
                self.out.append(f'<rect class="{kind}" x="{LEFT}" y="{middle - BAR / 2}" width="{right - LEFT:.1f}" height="{BAR}" rx="2"/>')
                self.out.append(f'<text class="small" x="{right + 6:.1f}" y="{middle + 4.5}">{ratio:.2f}</text>')
                if worst is not None:
                    self.out.append(f'<path class="worst" stroke="#fff" d="M{place(worst) - 5:.1f} {middle}l5 -5l5 5l-5 5z"/>')
            top += height
        self.y = end + 48

    def svg(self, label):
        width = LEFT + WIDTH + 70
        head = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {self.y}" width="{width}" height="{self.y}" role="img" '
                f'aria-label="{label}">', f"<style>{STYLE}</style>", '<rect class="paper" width="100%" height="100%"/>']
        return "\n".join([*head, *self.out, "</svg>\n"])


def layers_panel(picture, sets):
    legend = [*((key, key) for key in PASSES), ("worst", "the worst layer")]
    rows = [(SETS[name], [(key, mean(found[key]), min(found[key])[0]) for key in PASSES]) for name, found in sets.items()]
    picture.panel("Layers: times as fast as PyTorch, geometric mean", legend, rows)


def networks_panel(picture, networks):
    legend = [(kind, LIBRARIES[library]) for library, kind in BARS.items()]
    rows = [(NETWORKS[name], [(kind, times["PyTorch"] / times[library], None) for library, kind in BARS.items() if library in times])
            for name, times in networks.items()]
    picture.panel("Networks, forward: times as fast as PyTorch (eager, NCHW)", legend, rows)


def read_networks(threads):
    """{network: {library: milliseconds}}; nothing where none was measured."""
    path, found = DOCS / "figures" / f"networks-{threads}.csv", {}
    if path.exists():
        for row in csv.DictReader(path.open(newline="")):
            found.setdefault(row["network"], {})[row["library"]] = float(row["milliseconds"])
    return {name: found[name] for name in NETWORKS if name in found}


def networks_table(networks, libraries):
    lines = ["| network | " + " | ".join(LIBRARIES[library] for library in libraries) + " |", "|---|" + "--:|" * len(libraries)]
    for name, times in networks.items():
        best = min(times.values())
        cell = lambda ms: f"**{ms:.1f}**" if ms == best else f"{ms:.1f}"
        lines.append(f"| {NETWORKS[name]} | " + " | ".join(cell(times[library]) if library in times else "" for library in libraries) + " |")
    return "\n".join(lines)


def span(values):
    low, high = min(values), max(values)
    return f"{low:.1f} to {high:.1f}" if f"{low:.1f}" != f"{high:.1f}" else f"{low:.1f}"


def answer(sets, networks, link):
    """What to take from the picture, losses beside wins, in lines of the documents' width."""
    means = {name: [mean(sets[name][key]) for key in PASSES] for name in SHORT}
    torch = {name: min(ms for library, ms in times.items() if library.startswith("PyTorch")) for name, times in networks.items()}
    over = lambda library: span([torch[name] / times[library] for name, times in networks.items()])
    behind = lambda library: [NETWORKS[name] for name, times in networks.items() if times["OpenVINO"] < times[library]]
    listed = lambda names: ", ".join(names[:-1]) + " and " * (len(names) > 1) + names[-1] if names else "none"
    text = (
        f"On {MACHINE}, public layers run {span(means['nchw-1'])} times as fast as in PyTorch channels first, and {span(means['nhwc-1'])} times channels last "
        f"(geometric means of forward and both gradients). Whole networks run {over('im2col')} times as fast as in the fastest of PyTorch's four "
        f"ways (either memory order, eager or compiled), and with Winograd, which is less exact, {over('im2col tile')} times. OpenVINO keeps a memory order of its "
        f"own through a whole network and is the harder rival: it is faster in {listed(behind('im2col'))}, and where im2col uses Winograd in {listed(behind('im2col tile'))}. {link}")
    return "\n".join(textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False))


def between(text, name, made):
    """`text` with what stands between its marks replaced."""
    begin, end = f"<!-- {name}: begin -->\n", f"\n<!-- {name}: end -->"
    head, rest = text.split(begin)
    return head + begin + made + end + rest.split(end[1:])[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    sets = {name: read(name) for name in SETS if (DOCS / "figures" / f"pytorch-{name}.csv").exists()}
    more = "[docs/speed.md](docs/speed.md) has every layer, all that loses and why, and the commands."
    one, two = read_networks(1), read_networks(2)
    short, full = Picture(), Picture()
    networks_panel(short, one)
    layers_panel(short, {name: sets[name] for name in SHORT})
    layers_panel(full, sets)
    page = (DOCS / "speed.md").read_text()
    for name, part in {"answer": answer(sets, one, ""), "summary": markdown(sets), "networks-1": networks_table(one, LIBRARIES), "networks-2": networks_table(two, LIBRARIES)}.items():
        page = between(page, name, part)
    made = {
        ROOT / "README.md": between((ROOT / "README.md").read_text(), "speed", answer(sets, one, more)),
        DOCS / "speed.md": page,
        DOCS / "figures" / "speed.svg": short.svg("Speed of im2col over PyTorch: networks and layers"),
        DOCS / "figures" / "layers.svg": full.svg("Speed of im2col over PyTorch by set of layers and pass"),
    }
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    if args.check:
        sys.exit(f"stale: {', '.join(map(str, stale))}: run python3 benches/peers/summary.py" if stale else 0)
    for path, text in made.items():
        path.write_text(text)


if __name__ == "__main__":
    main()
