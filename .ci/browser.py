#!/usr/bin/env python3
"""Tests the page docs/backprop.html in headless Chromium, with real pointers and keys.

usage: python3 .ci/browser.py [--screenshots DIR] [PAGE ...]

Needs Chromium and nothing else: it is driven over a pipe, in the DevTools protocol
(https://chromedevtools.github.io/devtools-protocol/). As root, a missing Chromium is installed by
the system's package manager; where that can't be, the test says so and is skipped.

What is right is worked out here from the definition of a convolution (`window`), not with the
library's tables: input = output * stride + tap * dilation - padding.
"""

import argparse
import base64
import itertools
import json
import os
import pathlib
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]
INSTALL = {
    "apt-get": ["sh", "-c", "apt-get update -q && apt-get install -q -y --no-install-recommends chromium"],
    "dnf": ["dnf", "install", "-y", "chromium"],
    "apk": ["apk", "add", "chromium"],
    "pacman": ["pacman", "-Sy", "--noconfirm", "chromium"],
}
TIMEOUT = 60


def chromium():
    """The path of Chromium, installed if need be; None if there is no way to it."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and os.geteuid() == 0:
        command = next((INSTALL[tool] for tool in INSTALL if shutil.which(tool)), None)
        if command is not None:
            print("no Chromium here: installing it,", " ".join(command), flush=True)
            subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
            found = next(filter(None, map(shutil.which, NAMES)), None)
    return found


class Browser:
    """One tab of a headless Chromium."""

    def __init__(self, path, profile):
        read_here, write_there = os.pipe()
        read_there, write_here = os.pipe()
        # The browser reads commands from file 3 and writes answers to file 4.
        ends = [os.dup(read_there), os.dup(write_there)]
        high = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
        ends = [os.dup(end) for end in ends]

        def place():
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                 "--no-first-run", "--disable-background-networking", "--remote-debugging-pipe",
                 f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen([path, *flags], pass_fds=(3, 4), preexec_fn=place,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in [read_there, write_there, *high, *ends]:
            os.close(end)
        self.read, self.write = read_here, write_here
        self.rest, self.count, self.events = b"", 0, []
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(f"{domain}.enable")

    def message(self):
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.read], [], [], TIMEOUT)
            part = os.read(self.read, 1 << 20) if ready else b""
            if not part:
                sys.exit("Chromium ended or said nothing for a minute")
            self.rest += part
        line, self.rest = self.rest.split(b"\0", 1)
        return json.loads(line)

    def call(self, method, **params):
        """Sends a command, keeps what happens meanwhile, returns the answer."""
        self.count += 1
        command = {"id": self.count, "method": method, "params": params}
        if self.session:
            command["sessionId"] = self.session
        os.write(self.write, json.dumps(command).encode() + b"\0")
        while True:
            message = self.message()
            if message.get("id") == self.count:
                if "error" in message:
                    sys.exit(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def run(self, script):
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            sys.exit(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def open(self, path):
        self.call("Page.navigate", url=path.resolve().as_uri())
        deadline = time.monotonic() + TIMEOUT
        while self.run("document.readyState") != "complete":
            assert time.monotonic() < deadline, "the page doesn't load"
            time.sleep(0.02)

    def size(self, width, height, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def dark(self, dark):
        value = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def middle(self, selector):
        self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        return self.run(f"(() => {{ const b = document.querySelector({selector!r}).getBoundingClientRect();"
                        " return {x: b.left + b.width / 2, y: b.top + b.height / 2}; })()")

    def point(self, selector):
        self.call("Input.dispatchMouseEvent", type="mouseMoved", **self.middle(selector))

    def touch(self, selector):
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[self.middle(selector)])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def key(self, *names):
        codes = {"Tab": 9, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "p": 80}
        for name in names:
            for kind in ["rawKeyDown", "keyUp"]:
                self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name,
                          windowsVirtualKeyCode=codes[name])

    def screenshot(self, path):
        image = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(image))

    def complaints(self):
        """What the console says, and what was asked of any network."""
        found = []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"])
            elif method == "Runtime.consoleAPICalled" and params["type"] in ["error", "warning", "assert"]:
                found.append(params["args"])
            elif method == "Log.entryAdded" and params["entry"]["level"] in ["error", "warning"]:
                found.append(params["entry"])
            elif method == "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith(("file:", "data:", "about:")):
                    found.append(url)
        return found


# ---- what the page shows

def lit(tab, table):
    """Names of the lit cells of a table, in order."""
    return tab.run(f"[...document.querySelectorAll('#{table} .cell.lit')].map(c => c.firstChild.textContent)")


def lines(tab):
    return tab.run("[...document.querySelectorAll('#explanation .equation')].map(p => p.textContent)")


def title(tab):
    return tab.run("document.querySelector('#explanation h2').textContent")


def focused(tab):
    return tab.run("(e => e.getAttribute('aria-label') ?? (e.id || e.textContent))(document.activeElement)")


def all_lit(tab):
    """The lit cells of each tensor that has some."""
    return {kind: found for kind in KINDS if (found := lit(tab, kind))}


def totals(tab):
    """The running totals: those that are added, and those to come."""
    return tab.run("[...document.querySelectorAll('#total .term')].map(c => [Number(c.textContent), c.classList.contains('later')])")


def press(tab, name):
    tab.run(f"document.getElementById('{name}').click()")


def choose(tab, **choices):
    """Sets some of the page's inputs, then tells it once."""
    tab.run(f"""(() => {{
      let select;
      for (const [name, label] of Object.entries({json.dumps(choices)})) {{
        select = document.getElementById('choice-' + name);
        select.selectedIndex = [...select.options].findIndex(option => option.text === label);
      }}
      select?.dispatchEvent(new Event('change', {{bubbles: true}}));
    }})()""")


def equal(found, expected, what):
    if found != expected:
        sys.exit(f"{what}\n   found {found}\nexpected {expected}")


def named(letter, numbers):
    return [f"{letter}{n + 1}" for n in numbers]


KINDS = ["v", "w", "g", "dv", "dw", "dg"]

# Where each arrow starts and ends: the cells whose middles are nearest to its ends.
ARROWS = """
[...document.querySelectorAll('#arrows path')].map(path => {
  const box = document.getElementById('tensors').getBoundingClientRect();
  const cells = [...document.querySelectorAll('#tensors button.cell')];
  return [0, path.getTotalLength()].map(length => {
    const point = path.getPointAtLength(length);
    const off = cell => (b => Math.hypot(b.left + b.width / 2 - box.left - point.x, b.top + b.height / 2 - box.top - point.y))(cell.getBoundingClientRect());
    return cells.reduce((a, b) => off(b) < off(a) ? b : a).firstChild.textContent;
  });
})
"""


# ---- the tests

def loads(tab):
    equal(lines(tab), [
        "∂E/∂W1 = ∂E/∂G1·∂G1/∂W1 + ∂E/∂G2·∂G2/∂W1 + ∂E/∂G3·∂G3/∂W1 + ∂E/∂G4·∂G4/∂W1",
        "∂G1/∂W1 = V1  ∂G2/∂W1 = V2  ∂G3/∂W1 = V4  ∂G4/∂W1 = V5",
        "∂E/∂W1 = ∂E/∂G1·V1 + ∂E/∂G2·V2 + ∂E/∂G3·V4 + ∂E/∂G4·V5",
        "= 1·1 + 2·2 + (-1)·4 + 3·5 = 16"], "W1, as the page opens")
    equal(totals(tab), [[1, False], [5, False], [1, False], [16, False]], "running totals of W1")
    equal(tab.run(ARROWS), [[f"dG{n}", "dW1"] for n in [1, 2, 3, 4]], "an arrow from each error to the weight")
    numbers = tab.run("['dg', 'dw', 'dv'].map(kind => [...document.querySelectorAll('#' + kind + ' .cell')].map(c => Number(c.dataset.number)))")
    equal(numbers, [[1, 2, -1, 3], [16, 21, 31, 36], [2, 7, 6, 3, 20, 23, -5, 8, 21]], "numbers of dG, dW and dV")


def pointing(tab):
    tab.point("#v button[data-n='4']")
    equal(all_lit(tab), {"v": ["V5"], "w": named("W", range(4)), "dv": ["dV5"], "dg": named("dG", range(4))}, "V5 pointed at")
    equal(lines(tab)[2], "∂E/∂V5 = ∂E/∂G1·W4 + ∂E/∂G2·W3 + ∂E/∂G3·W2 + ∂E/∂G4·W1", "V5 pointed at")
    equal(tab.run(ARROWS), [[f"dG{n}", "dV5"] for n in [1, 2, 3, 4]], "arrows to V5's gradient")
    tab.point("#g button[data-n='1']")
    equal(all_lit(tab), {"v": ["V2", "V3", "V5", "V6"], "w": named("W", range(4)), "g": ["G2"]}, "G2 pointed at")
    equal(lines(tab)[0], "G2 = V2·W1 + V3·W2 + V5·W3 + V6·W4", "G2 pointed at")
    equal(tab.run(ARROWS), [[pixel, "G2"] for pixel in ["V2", "V3", "V5", "V6"]], "arrows to G2")
    tab.point("#dg button[data-n='1']")
    equal(all_lit(tab), {"dv": ["dV2", "dV3", "dV5", "dV6"], "dw": named("dW", range(4)), "dg": ["dG2"]}, "dG2 pointed at")
    tab.point("#w button[data-n='3']")
    equal(lit(tab, "v"), ["V5", "V6", "V8", "V9"], "W4 pointed at")
    tab.point("#dw button[data-n='3']")
    equal((lit(tab, "v"), title(tab)[:2]), (["V5", "V6", "V8", "V9"], "W4"), "dW4 pointed at")
    tab.point("#cols button[data-n='6']")
    equal((lit(tab, "cols"), lit(tab, "w"), lit(tab, "g")), (["V5"], ["W3"], ["G2"]), "row G2, column W3 of cols")
    # A term of a sum lights up its product alone.
    tab.point("#w button[data-n='0']")
    tab.call("Input.dispatchMouseEvent", type="mousePressed", button="left", clickCount=1, **tab.middle("#w button[data-n='0']"))
    tab.call("Input.dispatchMouseEvent", type="mouseReleased", button="left", clickCount=1, **tab.middle("#w button[data-n='0']"))
    tab.point("#explanation .equation .term")
    equal((lit(tab, "v"), lit(tab, "dg")), (["V1"], ["dG1"]), "the first term of W1's chain rule")
    tab.point("h1")
    equal(lit(tab, "v"), ["V1", "V2", "V4", "V5"], "back to what was picked")


def keyboard(tab):
    tab.run("document.querySelector('.brand').focus()")
    seen = [focused(tab)]
    for _ in range(20):
        tab.key("Tab")
        seen.append(focused(tab))
        if seen[-1] == "pixel V1":
            break
    equal(seen, ["im2col", "This page in prose", "How the library does it", "All pages", "1  Forward", "2  Back to the filter",
                 "3  Back to the input", "One step back", "play", "step", "Products added so far", "pixel V1"], "order of Tab")
    tab.key("ArrowRight", "ArrowDown")
    equal((focused(tab), title(tab)[:2]), ("pixel V5", "V5"), "arrows in the input")
    tab.key("ArrowRight", "ArrowRight", "ArrowRight")
    equal(focused(tab), "pixel V6", "arrows stop at the edge")
    tab.key("Tab", "ArrowDown")
    equal((focused(tab), lit(tab, "v")), ("weight W3", ["V4", "V5", "V7", "V8"]), "arrows in the filter")
    tab.key("Tab", "ArrowRight")
    equal((focused(tab), lit(tab, "v")), ("output G2", ["V2", "V3", "V5", "V6"]), "arrows in the output")
    for name in ["gradient dV1", "gradient dW1", "error dG1"]:
        tab.key("Tab")
        equal(focused(tab), name, "Tab in the lower row")
    tab.key("Tab", "ArrowDown", "ArrowRight")
    equal(focused(tab), "cols, row G2, column W2: V3", "arrows in cols")
    tab.key("Escape")
    equal((all_lit(tab), title(tab)), ({}, "Point at a weight, a pixel, an output or an error"), "Escape")


def stepping(tab):
    """From the first output to the last pixel's gradient and back, by keys alone."""
    tab.run("document.activeElement.blur()")
    tab.run("document.querySelector('#chapters button').click()")
    seen, results = [], {}
    for _ in range(100):
        name = tab.run("document.querySelector('#total b').textContent")
        chips = totals(tab)
        added = [total for total, later in chips if not later]
        now = [cell for kind in ["g", "dw", "dv"] for cell in tab.run(
            f"[...document.querySelectorAll('#{kind} .picked')].map(c => c.lastChild.textContent)")]
        equal(now[-1:], [str(added[-1])], f"{name}: the number in the cell is the running total")
        seen.append((name, len(added)))
        results[name] = added[-1]
        before = tab.run("document.getElementById('total').textContent")
        tab.key("ArrowRight")
        if tab.run("document.getElementById('total').textContent") == before:
            break
    uses = [1, 2, 1, 2, 4, 2, 1, 2, 1]
    wanted = [(f"G{n}", k) for n in range(1, 5) for k in range(1, 5)]
    wanted += [(f"∂E/∂W{n}", k) for n in range(1, 5) for k in range(1, 5)]
    wanted += [(f"∂E/∂V{n}", k) for n in range(1, 10) for k in range(1, uses[n - 1] + 1)]
    equal(seen, wanted, "every product once, forward, then both gradients")
    equal(list(results.values()), [63, 80, 114, 131, 16, 21, 31, 36, 2, 7, 6, 3, 20, 23, -5, 8, 21], "results")
    for name, count in reversed(wanted[:-1]):
        tab.key("ArrowLeft")
        found = tab.run("document.querySelector('#total b').textContent"), len([1 for _, later in totals(tab) if not later])
        equal(found, (name, count), "a step back")
    tab.run("document.querySelectorAll('#chapters button')[1].click()")
    for total, count in [(1, 1), (5, 2), (1, 3), (16, 4)]:
        equal(([t for t, later in totals(tab) if not later][-1], len(tab.run(ARROWS))), (total, count), "W1, step by step")
        press(tab, "step")
    equal(title(tab)[:2], "W2", "then the next weight")
    equal(tab.run("[...document.querySelectorAll('#dw .cell')].map(c => c.lastChild.textContent)"), ["16", "2", "?", "?"], "dW fills in")
    tab.key("p")
    equal(tab.run("document.getElementById('play').textContent"), "Pause", "P plays")
    deadline = time.monotonic() + TIMEOUT
    while title(tab)[:2] == "W2":
        assert time.monotonic() < deadline, "nothing is played"
        time.sleep(0.1)
    press(tab, "play")
    tab.run("document.querySelector('#w button').click()")
    loads(tab)


def legible(tab):
    """No letter is smaller than 12 pixels."""
    least = tab.run("""Math.min(...[...document.querySelectorAll('body *')].filter(e => [...e.childNodes].some(
        n => n.nodeType === 3 && n.textContent.trim()) && !['SCRIPT', 'STYLE'].includes(e.tagName)).map(e => parseFloat(getComputedStyle(e).fontSize)))""")
    equal(least >= 12, True, f"the smallest letters have {least} pixels")


def redraw(tab):
    choose(tab, size="5×5", kernel="3", stride="2", padding="1")
    equal(len(lit(tab, "dg")), 9, "W1 of a 3x3 output")
    equal(tab.run("document.querySelectorAll('#v .zero').length"), 24, "the ring of zeros")
    equal(tab.run("document.querySelectorAll('#v button').length"), 25, "pixels")
    choose(tab, size="3×3", padding="0", dilation="2")
    equal(tab.run("[document.getElementById('stage').hidden, document.getElementById('refused').textContent]"),
          [True, "No such layer here: axis 0: the kernel spans 5 elements (dilation * (kernel - 1) + 1), "
                 "the padded input has 3: the span must not be larger."], "a layer that can't be")
    choose(tab, kernel="2", stride="1", dilation="1")
    loads(tab)
    equal(tab.run("[document.getElementById('stage').hidden, document.getElementById('refused').hidden]"), [False, True], "back")


def window(size, kernel, stride, padding, dilation):
    """For each output the (weight, pixel) pairs of one axis, from the definition."""
    outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    inside = lambda o: [(k, o * stride + k * dilation - padding) for k in range(kernel)]
    return [[(k, i) for k, i in inside(o) if 0 <= i < size] for o in range(outputs)]


# Picks every element in turn; returns what is lit and said for each.
EVERYTHING = """
(kinds => kinds.flatMap(kind => [...document.querySelectorAll('#' + kind + ' button')].map(cell => {
  cell.click();
  const lit = table => [...document.querySelectorAll('#' + table + ' .cell.lit')].map(c => Number(c.dataset.n)).sort((a, b) => a - b);
  const lines = [...document.querySelectorAll('#explanation .equation')].map(p => p.textContent);
  const totals = [...document.querySelectorAll('#total .term')].map(c => Number(c.textContent));
  return {kind, n: Number(cell.dataset.n), lit: Object.fromEntries(kinds.map(k => [k, lit(k)])), sum: lines.at(-1), totals};
})))(['v', 'w', 'g', 'dv', 'dw', 'dg'])
"""


def sum_of(line):
    """The values of the terms in `= 1·2 + (-1)·3 = -1`, and what they are said to make."""
    *terms, total = line.removeprefix("= ").split(" = ")
    factors = [term.split("·") for term in terms[0].split(" + ")] if terms else []
    return [float(a.strip("()")) * float(b.strip("()")) for a, b in factors], float(total)


def every_choice(tab):
    """Every element of every layer that can be chosen, against the definition."""
    labels = json.loads(tab.run("JSON.stringify(data.choices.map(c => c.labels))"))
    layers = elements = refused = 0
    for picked in itertools.product(*labels):
        size, kernel, stride, padding, dilation = (int(label.split("×")[0]) for label in picked)
        choose(tab, **dict(zip(["size", "kernel", "stride", "padding", "dilation"], picked)))
        fits = size + 2 * padding >= dilation * (kernel - 1) + 1
        if not fits or tab.run("document.getElementById('stage').hidden"):
            message = tab.run("document.getElementById('refused').textContent")
            equal(tab.run("document.getElementById('stage').hidden"), True, picked)
            equal(("the kernel spans" if not fits else "too large to print") in message, True, f"{picked}: {message}")
            refused += 1
            continue
        axis = window(size, kernel, stride, padding, dilation)
        products = [(oy * len(axis) + ox, ky * kernel + kx, iy * size + ix)
                    for oy, row in enumerate(axis) for ox, column in enumerate(axis)
                    for ky, iy in row for kx, ix in column]
        outputs = range(len(axis) ** 2)
        for found in tab.run(EVERYTHING):
            kind, n = found["kind"], found["n"]
            own = [p for p in products if p["gwv".index(kind[-1])] == n]
            # A weight and an output also meet where the weight lies on padding.
            met = {"g": set(outputs) if kind[-1] == "w" else {o for o, _, _ in own},
                   "w": set(range(kernel ** 2)) if kind[-1] == "g" else {w for _, w, _ in own},
                   "v": {i for _, _, i in own}}
            touched = {"g": {"v": met["v"], "w": met["w"], "g": {n}},
                       "dg": {"dv": met["v"], "dw": met["w"], "dg": {n}},
                       "w": {"v": met["v"], "dg": met["g"], "w": {n}, "dw": {n}},
                       "v": {"w": met["w"], "dg": met["g"], "v": {n}, "dv": {n}}}
            wanted = touched[kind if kind == "dg" else kind[-1]]
            equal(found["lit"], {k: sorted(wanted.get(k, ())) for k in KINDS}, f"{picked}: {kind}{n + 1}")
            elements += 1
            if kind == "dg":
                continue
            terms, total = sum_of(found["sum"])
            equal((len(terms), sum(terms)), (len(own), total), f"{picked}: the sum of {kind}{n + 1}, {found['sum']}")
            equal(found["totals"], list(itertools.accumulate(terms)), f"{picked}: running totals of {kind}{n + 1}")
        layers += 1
    print(f"    {layers} layers, {elements} elements, {refused} refused")
    choose(tab, size="3×3", kernel="2", stride="1", padding="0", dilation="1")


def luminance(colour):
    """WCAG 2: relative luminance of `rgb(r, g, b)`."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def colours(tab):
    for dark in [False, True]:
        tab.dark(dark)
        ink, page = tab.run("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")
        ink, page = luminance(ink), luminance(page)
        equal(ink > page, dark, "light on dark, dark on light")
        contrast = (max(ink, page) + 0.05) / (min(ink, page) + 0.05)
        equal(contrast > 7, True, f"contrast {contrast:.1f}")
    tab.dark(False)


def phone(tab):
    tab.size(360, 740, phone=True)
    tab.touch("#v button[data-n='4']")
    equal(title(tab)[:2], "V5", "touched")
    for choices in [{}, {"size": "5×5", "padding": "2", "kernel": "3"}]:
        choose(tab, **choices)
        legible(tab)
        width = tab.run("document.scrollingElement.scrollWidth")
        equal(width <= 360, True, f"nothing is wider than the phone: {width}")
        least = tab.run("Math.min(...[...document.querySelectorAll('#v .cell')].map(c => c.getBoundingClientRect().width))")
        equal(least >= 28, True, f"cells to touch: {least} pixels wide")
    choose(tab, size="3×3", kernel="2", padding="0")
    tab.size(1200, 900)


def sums(tab):
    """Every sum of a page is the sum of its terms."""
    for found in tab.run(EVERYTHING):
        if found["kind"] != "dg":
            terms, total = sum_of(found["sum"])
            equal(sum(terms), total, str(found))


def several_channels(tab):
    """What belongs to one filter of one group."""
    tab.run("document.querySelector('#w button[data-n=\"12\"]').click()")
    # The fourth filter of 4 taps makes the fourth output channel, and sees the second input channel.
    pixels, outputs = tab.run("[data.layers[chosen()].v, data.layers[chosen()].g].map(g => g[1] * g[2])")
    equal({int(name[1:]) > pixels for name in lit(tab, "v")}, {True}, "pixels of the second group")
    equal(lit(tab, "dg"), named("dG", range(3 * outputs, 4 * outputs)), "outputs of the fourth filter")


# Pages beside the one in docs/, and what is tested of them.
OTHERS = [
    ("--size 3x3 --kernel 2 --padding 1 --groups 2 --out-channels 4", [sums, several_channels]),
    ("--size 6 --kernel 3 --stride 2 --padding 1", [sums]),
    ("--size 2x3x3 --kernel 2 --padding 0x1x0", [sums]),
]


def screenshots(tab, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for dark, (name, width, height) in itertools.product([False, True], [("desktop", 1200, 900), ("phone", 360, 740)]):
        tab.dark(dark)
        tab.size(width, height, phone=name == "phone")
        for layer, choices, pick in [("example", {}, "#w button"), ("steps", {}, "#w button"), ("pixel", {}, "#v button[data-n='4']"),
                                     ("strided", {"size": "5×5", "kernel": "3", "stride": "2", "padding": "1"}, "#w button")]:
            choose(tab, **{"size": "3×3", "kernel": "2", "stride": "1", "padding": "0", **choices})
            tab.run(f"document.querySelector(\"{pick}\").click()")
            if layer == "steps":
                for _ in range(3):
                    press(tab, "step")
            tab.screenshot(folder / f"{name}-{layer}-{'dark' if dark else 'light'}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--screenshots", type=pathlib.Path, help="also write pictures of the page here")
    parser.add_argument("page", nargs="?", type=pathlib.Path, default=ROOT / "docs" / "backprop.html")
    args = parser.parse_args()
    path = chromium()
    if path is None:
        print("SKIPPED: the page was not tested, because there is no Chromium here. Install it (or run this as root):")
        print("looked for", ", ".join(NAMES))
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        folder = pathlib.Path(folder)
        pages = [(args.page, [loads, legible, pointing, keyboard, stepping, redraw, every_choice, colours, phone])]
        for n, (flags, tests) in enumerate(OTHERS):
            # The profile whose dependencies the tests have built.
            command = ["cargo", "run", "-q", "--profile", "test", "-p", "explain", "--", "--format", "html"]
            page = subprocess.run([*command, *flags.split()], stdout=subprocess.PIPE, check=True, cwd=ROOT).stdout
            path_of_page = folder / f"{n}.html"
            path_of_page.write_bytes(page)
            pages.append((path_of_page, tests))
        tab = Browser(path, folder / "profile")
        try:
            tab.size(1200, 900)
            tab.dark(False)
            for page, tests in pages:
                print(page.name, flush=True)
                tab.open(page)
                for test in tests:
                    print(f"  {test.__name__}: {(test.__doc__ or '').strip()}".rstrip(": "), flush=True)
                    test(tab)
                    equal(tab.complaints(), [], f"{test.__name__}: console and network")
            if args.screenshots:
                tab.open(args.page)
                screenshots(tab, args.screenshots)
        finally:
            tab.process.terminate()
            tab.process.wait()
    print("the page is as it should be")


if __name__ == "__main__":
    main()
