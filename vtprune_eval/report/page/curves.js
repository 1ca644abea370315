// One curve per method over its budgets, with its interval as a band and its name at its end.
const CONTROLS = ["full", "resize", "random", "random-tokens", "random-layer", "random-kv", "no-image"];
let lines = [];

function curves() {
  const axis = axisOf(state.axis), out = new Map();
  for (const line of lines) {
    if (line.method === "full" || !has(valueOf(line)) || !has(line[axis.key])) continue;
    const name = line.set_to ? `${line.method} (${line.set_to})` : line.method;
    if (!out.has(name)) out.set(name, { name, method: line.method, ranked: line.ranked, points: [] });
    out.get(name).points.push({ line, x: line[axis.key] * axis.factor, y: valueOf(line), ci: intervalOf(line), noEffect: line.noEffect });
  }
  for (const curve of out.values()) {
    curve.points.sort((a, b) => a.x - b.x || a.y - b.y);
    curve.noEffect = curve.points.every((p) => p.noEffect);
  }
  return [...out.values()].sort((a, b) => a.name.localeCompare(b.name));
}
// By the place among the drawn methods, so that up to eight curves differ in colour; what is not drawn has none.
const lookOf = (name, drawn) => {
  const i = drawn.indexOf(name);
  return i < 0 ? { colour: "var(--line)", dash: "", marker: "circle" } : { colour: COLOURS[i % COLOURS.length], dash: DASHES[Math.floor(i / COLOURS.length) % DASHES.length], marker: MARKERS[i % MARKERS.length] };
};
// Without a choice of the reader: the methods that reach the frontier, and the controls that every claim must beat.
function defaultMethods(all) {
  const eligible = all.filter((c) => c.ranked && !c.noEffect);
  const points = eligible.flatMap((c) => c.points.map((p) => ({ ...p, name: c.name })));
  const best = points.filter((p) => !points.some((q) => q.y >= p.y && q.x <= p.x && (q.y > p.y || q.x < p.x)));
  const area = (c) => mean(c.points.map((p) => p.y));
  const controls = eligible.filter((c) => ["resize", "random"].includes(c.name)).map((c) => c.name);
  const front = unique(best.sort((a, b) => a.x - b.x).map((p) => p.name)).filter((n) => !controls.includes(n)).slice(0, 6);
  const rest = eligible.filter((c) => ![...controls, ...front].includes(c.name)).sort((a, b) => area(b) - area(a)).map((c) => c.name);
  return [...front, ...controls, ...rest].slice(0, 7);
}
const drawnMethods = (all) => state.methods ?? defaultMethods(all);

function ticks(low, high, log) {
  const out = [];
  if (log) {
    const steps = high / low > 200 ? [1] : high / low > 20 ? [1, 3] : [1, 2, 5];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
      for (const m of steps) { const v = m * 10 ** e; if (v >= low && v <= high) out.push(v); }
    if (out.length > 1) return out;
    out.length = 0;
  }
  const raw = (high - low) / 5, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((m) => m * power >= raw) * power;
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9; i++) out.push(Number((i * step).toPrecision(12)));
  return out;
}
function markerNode(shape, x, y, colour, hollow) {
  const paint = { stroke: colour, "stroke-width": 1.8, fill: hollow ? "var(--back)" : colour };
  const path = { square: "M-4-4h8v8h-8z", triangle: "M0-5.5 5 4h-10z", diamond: "M0-5.5 5.5 0 0 5.5-5.5 0z", cross: "M-4-4 4 4M-4 4 4-4" }[shape];
  return path ? make("svg:path", { d: path, transform: `translate(${x} ${y})`, ...paint }) : make("svg:circle", { cx: x, cy: y, r: 4.2, ...paint });
}

function drawCurves() {
  const svg = byId("curves"), axis = axisOf(state.axis), all = curves(), chosen = drawnMethods(all);
  const shown = all.filter((c) => chosen.includes(c.name)), names = shown.map((c) => c.name);
  const width = Math.max(320, svg.parentNode.clientWidth), narrow = width < 560, height = narrow ? 360 : 460;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("height", height);
  svg.setAttribute("data-axis", axis.key);
  svg.replaceChildren();
  drawMethods(all, chosen);
  const full = lines.find((l) => l.method === "full");
  const fullY = full && has(valueOf(full)) ? valueOf(full) : null, fullX = full && has(full[axis.key]) ? full[axis.key] * axis.factor : null;
  const points = shown.flatMap((c) => c.points);
  if (!points.length) {
    const why = lines.some((l) => has(valueOf(l))) ? (all.length ? "Choose a method." : "No row has this cost.") : scope()?.group === "random" ? "Random weights have costs and no accuracy; the table below ranks nothing." : `These rows have no ${MEASURES[state.y]}.`;
    svg.append(make("svg:text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, why));
    byId("curves-note").textContent = "";
    return;
  }
  const xs = [...points.map((p) => p.x), ...(has(fullX) ? [fullX] : [])], ys = points.flatMap((p) => p.ci ?? [p.y]).concat(has(fullY) ? [fullY] : []);
  let low = Math.min(...xs), high = Math.max(...xs);
  const log = low > 0 && high / low > 12;
  if (log) { low /= 1.15; high *= 1.15; } else { const pad = (high - low || high || 1) * 0.05; low = Math.max(0, low - pad); high += pad; }
  const bottom = Math.max(0, Math.min(...ys) - 0.03), top = Math.min(state.y === "retention" ? 1.2 : 1, Math.max(...ys) + 0.03);
  const left = 46, right = width - (narrow ? 92 : 150), up = 12, down = height - 46, f = log ? Math.log : (v) => v;
  const px = (v) => left + (right - left) * (f(v) - f(low)) / (f(high) - f(low)), py = (v) => down - (down - up) * (v - bottom) / (top - bottom || 1);
  for (const t of ticks(low, high, log)) svg.append(make("svg:line", { x1: px(t), x2: px(t), y1: up, y2: down, class: "grid" }), make("svg:text", { x: px(t), y: down + 17, "text-anchor": "middle", class: "dim" }, short(t)));
  for (const t of ticks(100 * bottom, 100 * top, false)) svg.append(make("svg:line", { x1: left, x2: right, y1: py(t / 100), y2: py(t / 100), class: "grid" }), make("svg:text", { x: left - 7, y: py(t / 100) + 4, "text-anchor": "end", class: "dim" }, short(t)));
  svg.append(make("svg:text", { x: (left + right) / 2, y: height - 8, "text-anchor": "middle", id: "x-label" }, `${axis.label} (${axis.unit})${log ? ", log scale" : ""}`));
  svg.append(make("svg:text", { x: 13, y: (up + down) / 2, transform: `rotate(-90 13 ${(up + down) / 2})`, "text-anchor": "middle" }, `${MEASURES[state.y]} (%)`));
  if (has(fullY)) {
    svg.append(make("svg:line", { x1: left, x2: right, y1: py(fullY), y2: py(fullY), stroke: "currentColor", "stroke-width": 1.3, "stroke-dasharray": "1 3", class: "full-line" }));
    if (has(fullX)) svg.append(markerNode("circle", px(fullX), py(fullY), "currentColor", false));
  }
  const ends = [];
  if (has(fullY)) ends.push({ x: right, y: py(fullY), name: "full", colour: "currentColor" });
  for (const curve of shown) {
    const { colour, dash, marker } = lookOf(curve.name, names);
    const group = make("svg:g", { class: "curve", "data-method": curve.name });
    const banded = curve.points.filter((p) => p.ci);
    if (banded.length > 1 && shown.length <= 8) {
      const upper = banded.map((p) => `${px(p.x)} ${py(p.ci[1])}`), lower = banded.map((p) => `${px(p.x)} ${py(p.ci[0])}`).reverse();
      group.append(make("svg:path", { d: `M${upper.join("L")}L${lower.join("L")}Z`, fill: colour, "fill-opacity": 0.1, stroke: "none", class: "band" }));
    }
    group.append(make("svg:path", { d: curve.points.map((p, i) => `${i ? "L" : "M"}${px(p.x)} ${py(p.y)}`).join(""), fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": dash || null }));
    for (const p of curve.points) {
      const node = make("svg:g", { class: "point", tabindex: "-1", role: "button", "data-x": p.x, "data-line": p.line.key, "aria-label": tip(p, axis),
        onclick: () => openLine(p.line.key), onkeydown: (e) => pointKey(e, p),
        onfocus: () => focusCurve(curve.name), onblur: () => focusCurve(null), onmouseenter: () => focusCurve(curve.name), onmouseleave: () => focusCurve(null) },
        make("svg:title", {}, tip(p, axis)), make("svg:circle", { cx: px(p.x), cy: py(p.y), r: 9, fill: "transparent" }), markerNode(marker, px(p.x), py(p.y), colour, !curve.ranked));
      group.append(node);
    }
    svg.append(group);
    svg.querySelector(".point").setAttribute("tabindex", "0");
    const last = curve.points.at(-1);
    ends.push({ x: px(last.x), y: py(last.y), name: curve.name, colour });
  }
  // Names at the right edge, moved apart so that none covers another.
  ends.sort((a, b) => a.y - b.y);
  const step = 15;
  ends.forEach((e, i) => { e.at = Math.max(e.y, i ? ends[i - 1].at + step : up + 6); });
  const over = Math.max(0, (ends.at(-1)?.at ?? 0) - (down + 6));
  for (let i = ends.length - 1; i >= 0 && over > 0; i--) ends[i].at = Math.min(ends[i].at - (i === ends.length - 1 ? over : 0), i === ends.length - 1 ? Infinity : ends[i + 1].at - step);
  const letters = narrow ? 12 : 21;
  for (const e of ends) {
    const text = e.name.length > letters ? e.name.slice(0, letters - 1) + "…" : e.name;
    svg.append(make("svg:path", { d: `M${e.x + 5} ${e.y}L${right} ${e.at}H${right + 10}`, stroke: e.colour, "stroke-opacity": 0.55, "stroke-dasharray": "1 2", fill: "none", class: "leader" }),
      make("svg:text", { x: right + 13, y: e.at + 4, class: "halo name", "data-method": e.name, style: `fill:${e.colour}` }, text));
  }
  const machine = axis.machine ? " Times and energy depend on the machine: rows of several machines are several measurements." : "";
  byId("curves-note").textContent = `Bands: 95 % intervals. Dotted: the full model. Hollow: not ranked (reads the target).${machine} Choose a point to open its row (arrow keys go from point to point).`;
}
// The curves are one stop of the tabulator; arrows go from point to point, along a curve and then to the next one.
function pointKey(event, p) {
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); openLine(p.line.key); return; }
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const all = [...document.querySelectorAll("#curves .point")], at = all.indexOf(event.currentTarget), next = all[(at + step + all.length) % all.length];
  all[at].setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
}
const tip = (p, axis) => `${p.line.label}: ${percent(p.y)} % ${interval(p.ci)}, ${short(p.x)} ${axis.unit}`;
function focusCurve(name) {
  for (const node of document.querySelectorAll("#curves .curve, #curves .name")) node.classList.toggle("faded", name !== null && node.dataset.method !== name);
}
function drawMethods(all, chosen) {
  const names = all.map((c) => c.name).filter((n) => chosen.includes(n)), find = state.find.toLowerCase();
  const entry = (curve) => {
    const { colour, dash } = lookOf(curve.name, names);
    const box = make("input", { type: "checkbox", value: curve.name, onchange: (e) => {
      state.methods = e.target.checked ? [...chosen, curve.name] : chosen.filter((n) => n !== curve.name); redraw("curves"); } });
    box.checked = chosen.includes(curve.name);
    return make("label", {}, box, make("svg:svg", { class: "swatch", viewBox: "0 0 22 12", "aria-hidden": "true" }, make("svg:path", { d: "M1 6H21", stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash || null })), curve.name);
  };
  const parts = [];
  for (const [title, own] of [["ranked", all.filter((c) => c.ranked && !c.noEffect)], ["upper bounds, not ranked", all.filter((c) => !c.ranked)], ["without effect here", all.filter((c) => c.ranked && c.noEffect)]]) {
    const fitting = own.filter((c) => c.name.toLowerCase().includes(find) || (c.points[0].line.first.stage ?? "").includes(find));
    if (fitting.length) parts.push(make("h3", {}, title), ...fitting.map(entry));
  }
  const active = document.activeElement?.value;
  byId("methods").replaceChildren(...(parts.length ? parts : [make("p", { class: "note" }, all.length ? "No method of this name." : "No curve of these rows.")]));
  if (active) [...document.querySelectorAll("#methods input")].find((b) => b.value === active)?.focus();
  const stages = unique(all.flatMap((c) => (c.points[0].line.first.stage ?? "").split(", "))).filter(Boolean);
  byId("presets").replaceChildren(
    make("button", { type: "button", onclick: () => { state.methods = null; redraw("curves"); } }, "best"),
    make("button", { type: "button", onclick: () => { state.methods = all.filter((c) => CONTROLS.includes(c.name)).map((c) => c.name); redraw("curves"); } }, "controls"),
    ...stages.map((s) => make("button", { type: "button", onclick: () => { state.methods = all.filter((c) => (c.points[0].line.first.stage ?? "").includes(s)).map((c) => c.name); redraw("curves"); } }, s)),
    make("button", { type: "button", onclick: () => { state.methods = []; redraw("curves"); } }, "none"));
}
