"use strict";
// Draws the layer that is chosen, and lights up what belongs to whatever is pointed at. Where a tap
// lies is looked up in the tables that the library wrote; nothing here computes it.

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const stage = at("stage"), slider = at("window"), explanation = at("explanation");

/** The symbol of an element: v("v", 0) is V1. */
const symbol = (kind, n) => kind.toUpperCase() + (n + 1);

// ---- the layer: the library's tables

let layer;    // the one that is drawn
let terms;    // its products: {o, w, i, p, t, place}; i is -1 in padding
let picked;   // what was chosen last: {kind: "v" | "w" | "g" | "cols", n}

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
function of(selection) {
  const { kind, n } = selection;
  if (kind === "w") return terms.filter((x) => x.w === n);
  if (kind === "g") return terms.filter((x) => x.o === n);
  if (kind === "v") return terms.filter((x) => x.i === n);
  // An element of cols meets the filters of its group.
  return terms.filter((x) => colsNumber(x) === n);
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

function draw() {
  const entry = data.layers[chosen()];
  at("refused").hidden = !entry.refused;
  stage.hidden = Boolean(entry.refused);
  if (entry.refused) {
    at("refused").textContent = `No such layer here: ${entry.refused}.`;
    return;
  }
  read(entry);
  const { v, w, g } = layer.numbers;
  const cell = (kind, values, name) => (n) => button(kind, n, symbol(kind, n), values[n], `${name} ${symbol(kind, n)}`);
  const pixel = cell("v", v, "pixel");
  drawTensor("v", layer.padded, "input", (place) => (layer.pixels[place] < 0 ? drawZero() : pixel(layer.pixels[place])));
  drawTensor("w", layer.w, "filter", cell("w", w, "weight"));
  drawTensor("g", layer.g, "output", cell("g", g, "output"));
  drawCols();
  for (const kind of ["v", "w", "g", "cols"]) at(kind).querySelector("button").tabIndex = 0;
  slider.max = layer.positions - 1;
  pick({ kind: "w", n: 0 });
}

// ---- what is lit

const buttonOf = ({ kind, n }) => at(kind).querySelector(`button[data-n="${n}"]`);

function lit(kind, n, p, partner) {
  const cell = buttonOf({ kind, n });
  cell.classList.add("lit");
  cell.style.setProperty("--h", hue(p));
  if (partner) cell.lastChild.textContent = partner;
}

/** Lights up an element and all that its products touch; nothing if there is no selection. */
function light(selection, only) {
  for (const cell of stage.querySelectorAll(".lit, .picked")) {
    cell.classList.remove("lit", "picked");
    if (cell.dataset.number !== undefined) cell.lastChild.textContent = cell.dataset.number;
  }
  stage.classList.toggle("busy", Boolean(selection));
  if (!selection) return;
  const { kind } = selection;
  const products = only ? [only] : of(selection);
  for (const x of products) {
    const padding = x.i < 0;
    const error = "d" + symbol("g", x.o), weight = symbol("w", x.w), pixel = padding ? "0" : symbol("v", x.i);
    // Beside each element stands what it is multiplied by.
    if (!padding && kind !== "v") lit("v", x.i, x.p, "·" + (kind === "g" ? weight : error));
    if (kind !== "w") lit("w", x.w, x.p, "·" + (kind === "g" ? pixel : error));
    if (kind !== "g") lit("g", x.o, x.p, kind === "v" ? "·" + weight : "·" + pixel);
    lit("cols", colsNumber(x), x.p);
  }
  for (const name of at("cols").querySelectorAll(".name")) {
    name.classList.toggle("lit", products.some((x) => rowOf(x) === Number(name.dataset.row)));
  }
  const cell = buttonOf(selection);
  if (products.length > 0) cell.style.setProperty("--h", kind === "w" || kind === "v" ? 255 : hue(products[0].p));
  cell.classList.add("lit", "picked");
}

// ---- what is said

const number = (x) => (x < 0 ? `(${x})` : String(x));

/** One line: `left = a + b`, each term in the colour of its window. */
function equation(left, parts, between = "+ ") {
  const line = make("p", "equation", left ? `${left} = ` : "");
  parts.forEach(([text, x], n) => {
    const term = make("span", "term", text);
    term.style.setProperty("--h", hue(x.p));
    term.addEventListener("pointerenter", () => light(selected(), x));
    term.addEventListener("pointerleave", () => light(selected()));
    // A sign stays with the term that it precedes.
    if (n > 0) line.append(" ");
    line.append(make("span", "together", n > 0 ? between : "", term));
  });
  if (parts.length === 0) line.append("0");
  return line;
}

const places = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

/** The title and the lines that explain an element. */
function words(selection) {
  const { kind, n } = selection;
  const { v, w, g, dg, dw, dv } = layer.numbers;
  const all = of(selection), real = all.filter((x) => x.i >= 0);
  const me = kind === "cols" ? "" : symbol(kind, n);
  const G = (x) => symbol("g", x.o), W = (x) => symbol("w", x.w), V = (x) => (x.i < 0 ? "0" : symbol("v", x.i));
  const sum = (factors, total) => {
    const line = equation("", real.map((x) => [factors(x), x]));
    line.prepend("= ");
    if (real.length > 0) line.append(" ", make("span", "together result", `= ${total}`));
    return line;
  };
  if (kind === "g") {
    return [`${me} is made under one window, from ${places(real.length, "pixel")}`,
      equation(me, real.map((x) => [`${V(x)}·${W(x)}`, x])),
      sum((x) => `${number(v[x.i])}·${number(w[x.w])}`, g[n]),
      make("p", "", `Its error, ∂E/∂${me} = ${dg[n]}, comes from the next layer. It flows back to every weight and pixel that is lit.`)];
  }
  if (kind === "cols") {
    const x = all[0];
    const lines = all.flatMap((x) => x.i < 0 ? [] : [
      equation(G(x), [[`.. + ${V(x)}·${W(x)} + ..`, x]]),
      equation(`∂E/∂${W(x)}`, [[`.. + ∂E/∂${G(x)}·${V(x)} + ..`, x]]),
      equation(`∂E/∂${V(x)}`, [[`.. + ∂E/∂${G(x)}·${W(x)} + ..`, x]])]);
    if (x.i < 0) return [`For ${G(x)} the weight ${W(x)} lies on padding: a zero`, make("p", "", "It adds nothing, forward or back.")];
    return [`For ${G(x)} the weight ${W(x)} lies on ${V(x)}: one product, used three times`, ...lines];
  }
  const partner = kind === "w" ? V : W;
  const title = kind === "w"
    ? `${me} is used in ${places(all.length, "window")}: its gradient is a sum over them`
    : `${me} is read ${places(all.length, "time")}: its gradient gathers from there`;
  const value = (x) => number(dg[x.o]) + "·" + number(kind === "w" ? v[x.i] : w[x.w]);
  return [title,
    make("p", "", "The chain rule, once for each place:"),
    equation(`∂E/∂${me}`, all.map((x) => [`∂E/∂${G(x)}·∂${G(x)}/∂${me}`, x])),
    make("p", "", kind === "w" ? "with the pixel that it meets there:" : "with the weight that lies on it there:"),
    equation("", all.map((x) => [`∂${G(x)}/∂${me} = ${partner(x)}`, x]), " "),
    make("p", "", "and so"),
    equation(`∂E/∂${me}`, real.map((x) => [`∂E/∂${G(x)}·${partner(x)}`, x])),
    sum(value, (kind === "w" ? dw : dv)[n])];
}

function explain(selection) {
  if (!selection) {
    explanation.replaceChildren(make("h2", "", "Point at a weight, a pixel or an output"));
    return;
  }
  const [title, ...lines] = words(selection);
  explanation.replaceChildren(make("h2", "", title), ...lines);
}

// ---- pointing, keys, the slider

let hovered = null;
const selected = () => hovered ?? picked;

function show() {
  light(selected());
  explain(selected());
  const first = selected() && of(selected())[0];
  if (selected()?.kind === "g" || selected()?.kind === "cols") slider.value = first.p;
  const name = terms.find((x) => x.p === Number(slider.value));
  at("window-name").textContent = `${symbol("g", name.o)}, ${Number(slider.value) + 1} of ${layer.positions}`;
  slider.setAttribute("aria-valuetext", at("window-name").textContent);
}

function pick(selection) {
  picked = selection;
  hovered = null;
  show();
}

const selectionOf = (cell) => ({ kind: cell.dataset.kind, n: Number(cell.dataset.n) });

stage.addEventListener("pointerover", (event) => {
  const cell = event.target.closest("button.cell");
  if (event.pointerType === "mouse" && (cell || hovered)) {
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
slider.addEventListener("input", () => {
  const first = terms.find((x) => x.p === Number(slider.value));
  pick({ kind: "g", n: first.o });
});

for (const choice of data.choices) {
  const select = make("select");
  select.id = "choice-" + choice.name;
  choice.labels.forEach((label, n) => select.append(new Option(label, n, n === choice.first, n === choice.first)));
  select.addEventListener("change", draw);
  at("choices").append(make("label", "", choice.name, select));
}
at("choices").addEventListener("submit", (event) => event.preventDefault());
draw();
