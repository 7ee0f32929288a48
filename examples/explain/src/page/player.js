
// ---- the player: one product after the other, from the first output to the last pixel's gradient

/** The parts, in order: the tensor whose elements are summed up, and what the part is called. */
const PARTS = [["g", "Forward"], ["w", "Back to the filter"], ["v", "Back to the input"]];
const PAUSE = 1100;

let step = null;   // how many products of what is picked are added; null: all are shown at once
let timer = null;

const isStepping = () => step !== null;
const playing = () => timer !== null;

/** The part that an element belongs to, -1 if to none. */
const partOf = (selection) => (selection ? PARTS.findIndex(([kind]) => selection.kind === kind || selection.kind === "d" + kind && kind !== "g") : -1);

/** The products that a sum has. */
const summed = (selection) => of(selection).filter((x) => x.i >= 0);

const addedSoFar = () => (isStepping() && picked ? summed(picked).slice(0, step) : null);

function unstep() {
  step = null;
}

const length = (part) => layer.numbers[PARTS[part][0]].length;

/** The element after this one, or before it; null at the ends. */
function neighbour(part, n, by) {
  if (n + by >= 0 && n + by < length(part)) return [part, n + by];
  const next = part + by;
  if (next < 0 || next >= PARTS.length) return null;
  return [next, by > 0 ? 0 : length(next) - 1];
}

/** Shows a sum of which some products are added. */
function goTo(part, n, count) {
  picked = { kind: PARTS[part][0], n };
  hovered = null;
  step = count;
  show();
}

/** One product on or back; false where there is none. */
function advance(by) {
  const part = partOf(picked);
  if (part < 0) {
    goTo(1, 0, 1);
    return true;
  }
  if (!isStepping()) {
    goTo(part, picked.n, by > 0 ? Math.min(1, summed(picked).length) : summed(picked).length);
    return true;
  }
  const count = step + by;
  if (count >= 1 && count <= summed(picked).length) {
    goTo(part, picked.n, count);
    return true;
  }
  const next = neighbour(part, picked.n, by);
  if (!next) return false;
  const last = summed({ kind: PARTS[next[0]][0], n: next[1] }).length;
  goTo(...next, by > 0 ? Math.min(1, last) : last);
  return true;
}

function play() {
  if (!advance(1)) goTo(0, 0, 1);
  timer = setInterval(() => { if (!advance(1)) pause(); }, PAUSE);
  showPlayer();
}

function pause() {
  clearInterval(timer);
  timer = null;
  at("play").textContent = "Play";
}

/** The number that stands in a cell of a result while it is summed up: nothing before its turn. */
function showResults() {
  const now = partOf(picked);
  for (const [part, kind] of [[0, "g"], [1, "dw"], [2, "dv"]]) {
    for (const cell of at(kind).querySelectorAll("button.cell")) {
      const n = Number(cell.dataset.n);
      if (!cell.classList.contains("lit")) cell.lastChild.textContent = cell.dataset.number;
      if (!isStepping() || hovered || part < now || part === now && n < picked.n) continue;
      if (part === now && n === picked.n) cell.lastChild.textContent = totals().at(step - 1) ?? 0;
      else cell.lastChild.textContent = "?";
    }
  }
}

/** The running totals of what is picked. */
function totals() {
  let total = 0;
  return summed(picked).map((x) => (total += factors(picked.kind, x).reduce((a, b) => a * b)));
}

/** What the line below the buttons says. */
function showTotal() {
  const line = at("total");
  line.replaceChildren();
  const part = partOf(picked);
  if (part < 0) {
    line.append("Press Play, or Step, to add the products one by one.");
    return;
  }
  const all = totals(), products = summed(picked), name = part === 0 ? symbol("g", picked.n) : "∂E/∂" + symbol(PARTS[part][0], picked.n);
  line.append(make("b", "", name), " running total: ");
  all.forEach((total, n) => {
    const chip = make("span", "term", String(total));
    chip.style.setProperty("--h", hue(products[n].p));
    chip.classList.toggle("later", isStepping() && n >= step);
    chip.classList.toggle("now", isStepping() && n === step - 1);
    line.append(n > 0 ? " → " : "", chip);
  });
  if (all.length === 0) line.append("0, as nothing is added");
  if (isStepping() && step > 0) {
    const x = products[step - 1], before = step > 1 ? `${all[step - 2]} + ` : "";
    line.append(make("span", "sum", ` now ${before}${inNumbers(picked.kind, x)} = ${all[step - 1]}`));
  }
}

function showPlayer() {
  const part = partOf(picked);
  [...at("chapters").children].forEach((button, n) => button.setAttribute("aria-pressed", n === part));
  const count = part < 0 ? 0 : summed(picked).length, now = isStepping() ? step : count;
  const progress = at("progress");
  progress.max = count;
  progress.value = now;
  progress.disabled = count === 0;
  at("progress-name").textContent = `${now} of ${places(count, "product")}`;
  progress.setAttribute("aria-valuetext", at("progress-name").textContent);
  at("play").textContent = playing() ? "Pause" : "Play";
  showTotal();
  showResults();
}

PARTS.forEach(([, name], part) => {
  const button = make("button", "", `${part + 1}  ${name}`);
  button.type = "button";
  button.addEventListener("click", () => { pause(); goTo(part, 0, 1); });
  at("chapters").append(button);
});
at("play").addEventListener("click", () => (playing() ? pause() : play()));
at("step").addEventListener("click", () => { pause(); advance(1); });
at("back").addEventListener("click", () => { pause(); advance(-1); });
at("progress").addEventListener("input", () => {
  pause();
  const part = partOf(picked);
  if (part >= 0) goTo(part, picked.n, Number(at("progress").value));
});
stage.addEventListener("pointerdown", (event) => { if (event.target.closest("button.cell")) pause(); });

addEventListener("keydown", (event) => {
  // Where a key means something else, it keeps its meaning.
  if (stage.hidden || event.target.closest("select, input, button.cell") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
    pause();
    advance(event.key === "ArrowRight" ? 1 : -1);
    event.preventDefault();
  } else if (event.key === "p" || event.key === "P") {
    if (playing()) pause();
    else play();
  }
});

// ---- the layer's choices

for (const choice of data.choices) {
  const select = make("select");
  select.id = "choice-" + choice.name;
  choice.labels.forEach((label, n) => select.append(new Option(label, n, n === choice.first, n === choice.first)));
  select.addEventListener("change", draw);
  at("choices").append(make("label", "", choice.name, select));
}
at("choices").addEventListener("submit", (event) => event.preventDefault());
draw();
