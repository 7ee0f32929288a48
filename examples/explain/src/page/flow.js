
// ---- arrows: how a product gets from where it starts to the sum that it is added to

const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** From which element to which each product flows. */
function ways(kind, x) {
  const pixel = x.i < 0 ? [] : [["v", x.i]];
  if (kind === "g") return pixel.map((from) => [from, ["g", x.o]]);
  const error = ["dg", x.o];
  if (kind.endsWith("w")) return x.i < 0 ? [] : [[error, ["dw", x.w]]];
  if (kind.endsWith("v")) return [[error, ["dv", x.i]]];
  const back = x.i < 0 ? [] : [[error, ["dw", x.w]], [error, ["dv", x.i]]];
  return kind === "dg" ? back : [...pixel.map((from) => [from, ["g", x.o]]), ...back];
}

/** Arrows of all products, that of the last on top. */
function drawArrows(selection, products) {
  const home = at("tensors").getBoundingClientRect();
  at("arrows").replaceChildren();
  at("tips").replaceChildren();
  if (!selection) return;
  const box = ([kind, n]) => {
    const b = buttonOf({ kind, n }).getBoundingClientRect();
    return { x: b.left - home.left + b.width / 2, y: b.top - home.top + b.height / 2, w: b.width / 2, h: b.height / 2 };
  };
  const stepping = isStepping() && !hovered;
  products.forEach((x, n) => {
    const now = stepping && n === products.length - 1;
    for (const [from, to] of ways(selection.kind, x)) {
      const style = { class: `arrow ${now ? "now" : stepping ? "before" : ""}`, style: `--h:${hue(x.p)}` };
      const { line, tip } = arrow(box(from), box(to));
      at("arrows").append(svg("path", { ...style, d: line }));
      at("tips").append(svg("path", { ...style, d: tip }));
    }
  });
}

/** An arc from the edge of one cell to that of another, and its tip. Cells hide the arc, and the tip hides cells. */
function arrow(from, to) {
  const dx = to.x - from.x, dy = to.y - from.y, level = Math.abs(dx) > Math.abs(dy);
  const [right, down] = [Math.sign(dx), Math.sign(dy)];
  const start = level ? [from.x + right * from.w, from.y] : [from.x, from.y + down * from.h];
  const end = level ? [to.x - right * (to.w - 2), to.y + 0.5 * to.h * -down] : [to.x - right * 0.4 * to.w, to.y - down * (to.h - 2)];
  // Level arcs bend away from the row that they end in, so that they don't lie on each other.
  const bow = level ? (down > 0 || down === 0 && to.y < from.y + 1 ? -1 : 1) * Math.min(26, 8 + Math.abs(dx) * 0.05) : 0;
  const [first, second] = level
    ? [[start[0] + dx * 0.3, start[1] + bow], [end[0] - dx * 0.35, end[1] + bow]]
    : [[start[0], start[1] + dy * 0.45], [end[0], end[1] - dy * 0.45]];
  const line = `M${start} C${first} ${second} ${end}`;
  const angle = Math.atan2(end[1] - second[1], end[0] - second[0]);
  const tip = [-1, 1].map((s) => [end[0] - 11 * Math.cos(angle + s * 0.42), end[1] - 11 * Math.sin(angle + s * 0.42)]);
  return { line, tip: `M${end} L${tip[0]} L${tip[1]} z` };
}

addEventListener("resize", () => { if (!stage.hidden) show(); });
