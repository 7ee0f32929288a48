"use strict";
// Draws the layer that is chosen, and lights up what belongs to whatever is pointed at. Where a tap
// lies is looked up in the tables that the library wrote; nothing here computes it.

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const stage = at("stage"), explanation = at("explanation");

/** The tensors on the page. A gradient's element is drawn like the element it belongs to. */
const KINDS = ["v", "w", "g", "dv", "dw", "dg"];

/** The symbol of an element: symbol("v", 0) is V1, symbol("dv", 0) is dV1. */
const symbol = (kind, n) => (kind.length > 1 ? "d" : "") + kind.slice(-1).toUpperCase() + (n + 1);

// ---- the layer: the library's tables

let layer;    // the one that is drawn
let terms;    // its products: {o, w, i, p, t, place}; i is -1 in padding

/** The index of the chosen layer among all combinations of choices. */
function chosen() {
  return data.choices.reduce((n, c) => n * c.labels.length + at("choice-" + c.name).selectedIndex, 0);
}

/** Reads the tables of a layer: products come filter by filter, window by window, tap by tap. */
function read(entry) {
  const places = data.maps[entry.map], taps = entry.taps;
  const positions = entry.g.reduce((a, b) => a * b) / data.filters;
  layer = { ...entry, positions };
  terms = places.map((place, n) => {
    const t = n % taps, o = Math.floor(n / taps), k = Math.floor(o / positions);
    return { o, w: k * taps + t, i: entry.pixels[place], place, p: o % positions, t, k };
  });
}

const hue = (p) => (255 + Math.floor((360 * p) / layer.positions)) % 360;

/** The products that belong to an element. */
function of({ kind, n }) {
  const letter = kind.slice(-1);
  if (kind === "cols") return terms.filter((x) => colsNumber(x) === n);
  return terms.filter((x) => ({ v: x.i, w: x.w, g: x.o })[letter] === n);
}

/** Which element of cols, group after group, a product reads. */
function colsNumber(x) {
  const group = Math.floor(x.k / (data.filters / data.groups));
  return (group * layer.positions + x.p) * layer.taps + x.t;
}

/** Which row of cols, group after group, a product is in. */
const rowOf = (x) => Math.floor(colsNumber(x) / layer.taps);

// ---- drawing

/** An element with a class, text and children. */
function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function button(kind, n, text, number, name) {
  const cell = make("button", "cell", make("span", "", text), make("small", "", number));
  cell.type = "button";
  cell.dataset.kind = kind;
  cell.dataset.n = n;
  cell.dataset.number = number;
  cell.tabIndex = -1;
  cell.setAttribute("aria-label", name);
  return cell;
}

/** A tensor's panels; `cell` makes the element for each number. */
function drawTensor(kind, [panels, rows, columns], name, cell) {
  const home = at(kind);
  home.replaceChildren();
  for (let panel = 0; panel < panels; panel++) {
    const grid = make("div", "panel");
    grid.style.setProperty("--columns", columns);
    grid.setAttribute("role", "group");
    grid.setAttribute("aria-label", name + (panels > 1 ? ` ${panel + 1} of ${panels}` : ""));
    for (let n = 0; n < rows * columns; n++) grid.append(cell(panel * rows * columns + n));
    home.append(grid);
  }
  at("card-" + kind).classList.toggle("wide", columns * panels > 4);
}

function drawZero() {
  const zero = make("div", "cell zero", "0");
  zero.setAttribute("aria-hidden", "true");
  return zero;
}

function drawCols() {
  const home = at("cols");
  home.replaceChildren();
  const group = data.filters / data.groups;
  for (let first = 0; first < data.filters; first += group) {
    const grid = make("div", "panel");
    grid.style.setProperty("--columns", layer.taps);
    grid.setAttribute("role", "group");
    grid.setAttribute("aria-label", "cols" + (data.groups > 1 ? `, group ${first / group + 1}` : ""));
    grid.append(make("span", "label"));
    const own = terms.filter((x) => x.k === first);
    for (const x of own.slice(0, layer.taps)) grid.append(make("span", "label", symbol("w", x.w)));
    for (const x of own) {
      const row = symbol("g", x.o), value = x.i < 0 ? "0" : symbol("v", x.i);
      if (x.t === 0) {
        const name = make("span", "name", row);
        name.style.setProperty("--h", hue(x.p));
        name.dataset.row = rowOf(x);
        grid.append(name);
      }
      const number = x.i < 0 ? "" : layer.numbers.v[x.i];
      const cell = button("cols", colsNumber(x), value, number, `cols, row ${row}, column ${symbol("w", x.w)}: ${value}`);
      cell.style.setProperty("--h", hue(x.p));
      cell.classList.add(x.i < 0 ? "zero" : "tinted");
      grid.append(cell);
    }
    home.append(grid);
  }
}

const NAMES = { v: "pixel", w: "weight", g: "output", dv: "gradient", dw: "gradient", dg: "error" };

function draw() {
  const entry = data.layers[chosen()];
  at("refused").hidden = !entry.refused;
  stage.hidden = Boolean(entry.refused);
  pause();
  if (entry.refused) {
    at("refused").textContent = `No such layer here: ${entry.refused}.`;
    return;
  }
  read(entry);
  const cell = (kind) => (n) => button(kind, n, symbol(kind, n), layer.numbers[kind][n], `${NAMES[kind]} ${symbol(kind, n)}`);
  const pixel = cell("v");
  drawTensor("v", layer.padded, "input", (place) => (layer.pixels[place] < 0 ? drawZero() : pixel(layer.pixels[place])));
  drawTensor("w", layer.w, "filter", cell("w"));
  drawTensor("g", layer.g, "output", cell("g"));
  drawTensor("dv", layer.v, "gradient of the input", cell("dv"));
  drawTensor("dw", layer.w, "gradient of the filter", cell("dw"));
  drawTensor("dg", layer.g, "error", cell("dg"));
  drawCols();
  for (const kind of [...KINDS, "cols"]) at(kind).querySelector("button").tabIndex = 0;
  pick({ kind: "w", n: 0 });
}

// ---- what is lit

const buttonOf = ({ kind, n }) => at(kind).querySelector(`button[data-n="${n}"]`);

function lit(kind, n, p, partner) {
  const cell = buttonOf({ kind, n });
  cell.classList.add("lit");
  cell.style.setProperty("--h", hue(p));
  if (partner) cell.lastChild.replaceChildren(make("span", "own", cell.dataset.number), "·" + partner);
}

/** Lights up an element and all that its products touch: `products`, of which the last may be the one just added. */
function light(selection, products) {
  for (const cell of stage.querySelectorAll(".lit, .picked")) {
    cell.classList.remove("lit", "picked");
    if (cell.dataset.number !== undefined) cell.lastChild.textContent = cell.dataset.number;
  }
  stage.classList.toggle("busy", Boolean(selection));
  if (!selection) return;
  const { kind, n } = selection, letter = kind.slice(-1);
  for (const x of products) {
    const V = x.i < 0 ? "0" : symbol("v", x.i), W = symbol("w", x.w), D = symbol("dg", x.o);
    // Beside each element stands what it is multiplied by.
    if (kind === "g") {
      if (x.i >= 0) lit("v", x.i, x.p, W);
      lit("w", x.w, x.p, V);
    } else if (letter === "w") {
      if (x.i >= 0) lit("v", x.i, x.p, D);
      lit("dg", x.o, x.p, V);
    } else if (letter === "v") {
      lit("w", x.w, x.p, D);
      lit("dg", x.o, x.p, W);
    } else if (kind === "dg") {
      if (x.i >= 0) lit("dv", x.i, x.p);
      lit("dw", x.w, x.p);
    } else {
      if (x.i >= 0) lit("v", x.i, x.p);
      for (const [table, n] of [["w", x.w], ["g", x.o], ["dg", x.o]]) lit(table, n, x.p);
    }
    lit("cols", colsNumber(x), x.p);
  }
  for (const name of at("cols").querySelectorAll(".name")) {
    name.classList.toggle("lit", products.some((x) => rowOf(x) === Number(name.dataset.row)));
  }
  // A weight and a pixel are shown with their gradients.
  const both = letter === "g" || kind === "cols" ? [selection] : [{ kind: letter, n }, { kind: "d" + letter, n }];
  for (const one of both) {
    const cell = buttonOf(one);
    cell.style.setProperty("--h", letter === "g" || kind === "cols" ? hue(products[0]?.p ?? 0) : 255);
    cell.classList.add("lit", "picked");
  }
}

// ---- what is said

const number = (x) => (x < 0 ? `(${x})` : String(x));

/** One line: `left = a + b`, each term in the colour of its window; terms that aren't `added` yet stand back. */
function equation(left, parts, added, between = "+ ") {
  const line = make("p", "equation", left ? `${left} = ` : "");
  parts.forEach(([text, x], n) => {
    const term = make("span", "term", text);
    term.style.setProperty("--h", hue(x.p));
    term.classList.toggle("later", Boolean(added) && !added.includes(x));
    term.addEventListener("pointerenter", () => flow(selected(), [x]));
    term.addEventListener("pointerleave", () => show());
    // A sign stays with the term that it precedes.
    if (n > 0) line.append(" ");
    line.append(make("span", "together", n > 0 ? between : "", term));
  });
  if (parts.length === 0) line.append("0");
  return line;
}

const places = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

/** The two factors of a product, as it stands in the sum of an element. */
function factors(kind, x) {
  const { v, w, dg } = layer.numbers;
  if (kind === "g") return [v[x.i], w[x.w]];
  return [dg[x.o], kind.endsWith("w") ? v[x.i] : w[x.w]];
}

const inNumbers = (kind, x) => factors(kind, x).map(number).join("·");

/** The title and the lines that explain an element. */
function words(selection, added) {
  const { kind, n } = selection, letter = kind.slice(-1);
  const all = of(selection), real = all.filter((x) => x.i >= 0);
  const G = (x) => symbol("g", x.o), W = (x) => symbol("w", x.w), V = (x) => (x.i < 0 ? "0" : symbol("v", x.i));
  const sum = (total) => {
    const line = equation("", real.map((x) => [inNumbers(kind, x), x]), added);
    line.prepend("= ");
    const result = make("span", "together result", `= ${total}`);
    result.classList.toggle("later", Boolean(added) && added.length < real.length);
    if (real.length > 0) line.append(" ", result);
    return line;
  };
  if (kind === "cols") {
    const x = all[0];
    if (x.i < 0) return [`For ${G(x)} the weight ${W(x)} lies on padding: a zero`, make("p", "", "It adds nothing, forward or back.")];
    const lines = all.flatMap((x) => [
      equation(G(x), [[`.. + ${V(x)}·${W(x)} + ..`, x]]),
      equation(`∂E/∂${W(x)}`, [[`.. + ∂E/∂${G(x)}·${V(x)} + ..`, x]]),
      equation(`∂E/∂${V(x)}`, [[`.. + ∂E/∂${G(x)}·${W(x)} + ..`, x]])]);
    return [`For ${G(x)} the weight ${W(x)} lies on ${V(x)}: one product, used three times`, ...lines];
  }
  const me = symbol(letter, n);
  if (kind === "g") {
    return [`${me} is made under one window, from ${places(real.length, "pixel")}`,
      equation(me, real.map((x) => [`${V(x)}·${W(x)}`, x]), added),
      sum(layer.numbers.g[n]),
      make("p", "", "Each output is a dense unit that sees only the pixels under its window. All outputs share the same weights.")];
  }
  if (kind === "dg") {
    return [`The error of ${me} flows back to ${places(all.length, "weight")} and ${places(real.length, "pixel")}`,
      make("p", "", `∂E/∂${me} = ${layer.numbers.dg[n]}. It reaches each weight times the pixel under it, and each pixel times the weight above it:`),
      equation("", real.map((x) => [`∂E/∂${W(x)} += ∂E/∂${G(x)}·${V(x)}`, x]), undefined, ""),
      equation("", real.map((x) => [`∂E/∂${V(x)} += ∂E/∂${G(x)}·${W(x)}`, x]), undefined, "")];
  }
  const partner = letter === "w" ? V : W, padding = all.length - real.length;
  const title = letter === "w"
    ? `${me} is used in ${places(all.length, "window")}: its gradient is a sum over them`
    : `${me} lies in ${places(all.length, "window")}: its gradient is a sum over them`;
  const zeros = padding === 0 ? [] : [make("p", "", `In ${padding} of them the weight lies on padding. It multiplies a zero there, and the term is left out below.`)];
  return [title,
    make("p", "", "The chain rule, once for each window:"),
    equation(`∂E/∂${me}`, all.map((x) => [`∂E/∂${G(x)}·∂${G(x)}/∂${me}`, x]), added),
    make("p", "", letter === "w" ? "with the pixel under the weight there:" : "with the weight above the pixel there:"),
    equation("", all.map((x) => [`∂${G(x)}/∂${me} = ${partner(x)}`, x]), added, " "),
    ...zeros,
    make("p", "", "and so"),
    equation(`∂E/∂${me}`, real.map((x) => [`∂E/∂${G(x)}·${partner(x)}`, x]), added),
    sum(layer.numbers["d" + letter][n])];
}

function explain(selection, added) {
  if (!selection) {
    explanation.replaceChildren(make("h2", "", "Point at a weight, a pixel, an output or an error"));
    return;
  }
  const [title, ...lines] = words(selection, added);
  explanation.replaceChildren(make("h2", "", title), ...lines);
}

// ---- pointing and keys

let picked;          // what was chosen last: {kind, n}, kind one of KINDS or "cols"
let hovered = null;  // what the pointer is on
const selected = () => hovered ?? picked;

/** Lights up products and draws how they flow. */
function flow(selection, products) {
  light(selection, products);
  drawArrows(selection, products);
}

function show() {
  const selection = selected();
  const added = hovered ? null : addedSoFar();
  flow(selection, selection ? added ?? of(selection) : []);
  explain(selection, added);
  showPlayer();
}

function pick(selection) {
  picked = selection;
  hovered = null;
  unstep();
  show();
}

const selectionOf = (cell) => ({ kind: cell.dataset.kind, n: Number(cell.dataset.n) });

stage.addEventListener("pointerover", (event) => {
  const cell = event.target.closest("button.cell");
  if (event.pointerType === "mouse" && !playing() && (cell || hovered)) {
    // Over the explanation of what is pointed at, it stays.
    if (!cell && explanation.contains(event.target)) return;
    hovered = cell && selectionOf(cell);
    show();
  }
});
stage.addEventListener("pointerleave", () => { if (hovered) { hovered = null; show(); } });
stage.addEventListener("click", (event) => {
  const cell = event.target.closest("button.cell");
  if (cell) pick(selectionOf(cell));
});
stage.addEventListener("focusin", (event) => {
  const cell = event.target.closest("button.cell");
  if (!cell) return;
  for (const other of at(cell.dataset.kind).querySelectorAll('button[tabindex="0"]')) other.tabIndex = -1;
  cell.tabIndex = 0;
  pick(selectionOf(cell));
});
stage.addEventListener("keydown", (event) => {
  const cell = event.target.closest("button.cell");
  if (event.key === "Escape") pick(null);
  if (!cell) return;
  const box = cell.getBoundingClientRect();
  const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
  if (x === 0 && y === 0) return;
  event.preventDefault();
  // The nearest cell that way, in a line with this one.
  const middle = (b) => [b.left + b.width / 2, b.top + b.height / 2];
  const [fromX, fromY] = middle(box);
  let nearest = null, least = Infinity;
  for (const other of at(cell.dataset.kind).querySelectorAll("button.cell")) {
    const [toX, toY] = middle(other.getBoundingClientRect());
    const along = (toX - fromX) * x + (toY - fromY) * y;
    const aside = Math.abs((toX - fromX) * y) + Math.abs((toY - fromY) * x);
    if (along > 1 && aside < 1 && along < least) [nearest, least] = [other, along];
  }
  nearest?.focus();
});
