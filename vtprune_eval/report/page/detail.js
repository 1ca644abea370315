// A row, opened under itself: settings, command, answers with their pictures, groups, and a second row sample by sample.
let detailView = { filter: "all", quadrant: "" };
const SAMPLES = 12;
// What was done by others to believe a row; its submitter cannot claim any of it.
const STATES = { "recomputed": "every score, length, byte and FLOP was computed again from the records when this page was built", "re-run": "a sample of the answers was given again on the main branch, with the same result", "reproduced elsewhere": "another account submitted the same row from another machine, with the same scores" };

function detailRow(line, span) {
  const box = make("div", { class: "detail" }, make("p", { class: "note" }, "unpacking …"));
  const cell = make("td", { class: "detail", colspan: span }, box);
  fillDetail(line, box).catch((error) => box.replaceChildren(make("p", { class: "note" }, `The details cannot be unpacked (${error.message}); a current browser is needed.`)));
  return make("tr", { class: "detail", id: "detail" }, cell);
}
async function fillDetail(line, box) {
  const tasks = line.here.map((r) => r.task), task = tasks.includes(detailView.task) ? detailView.task : tasks[0];
  const row = line.by[task];
  const details = await detailsOf(row.result);
  const link = (file, text) => make("a", { href: encodeURI(file) }, text);
  const info = make("p", {}, ...[row.description, row.paper, row.year].filter(Boolean).map((t) => make("span", {}, `${t} `)),
    make("span", { class: "note" }, `${row.model}, weights ${row.weights}, ${row.machine}; ${row.n_failed ?? 0} of ${row.n} samples failed; ${row.timed ?? 0} timed. `),
    row.author ? make("span", { class: "note" }, `Submitted by ${[row.author, row.date, row.licence].filter(Boolean).join(", ")}${row.cites ? `; cite: ${row.cites}` : ""}. `) : "",
    ...(row.states ?? []).map((s) => make("span", { class: "tag state", title: STATES[s] ?? "" }, s)), row.unchecked ? make("span", { class: "note" }, `Not recomputed: ${row.unchecked} `) : "", " ", link(row.file, "result file"), " · ", link(row.records_file, "all records"));
  const parts = [info];
  if (details) parts.push(make("h3", {}, "Run it again"), make("pre", { class: "command" }, details.command));
  if (tasks.length > 1) {
    const choose = make("select", { "aria-label": "task", onchange: (e) => { detailView.task = e.target.value; refill(); } }, ...tasks.map((t) => make("option", { value: t }, t)));
    choose.value = task;
    parts.push(make("p", {}, "Task ", choose));
  }
  const refill = () => fillDetail(line, box);
  const own = details?.tasks[task], cell = own?.cells[cellKey(row)];
  if (!own || !cell) { box.replaceChildren(...parts); return; }
  parts.push(...groupTable(own, cell));
  const others = lines.filter((l) => l.key !== line.key && l.by[task]);
  const choose = make("select", { id: "other", "aria-label": "compare with", onchange: (e) => { state.other = e.target.value; detailView.quadrant = ""; writeAddress(); refill(); } },
    make("option", { value: "" }, "no other row"), ...others.map((l) => make("option", { value: l.key }, l.label)));
  choose.value = others.some((l) => l.key === state.other) ? state.other : "";
  parts.push(make("h3", {}, "Answers"), make("p", {}, "compare with ", choose));
  const other = others.find((l) => l.key === choose.value);
  parts.push(...(other ? await comparison(line, other, task, refill) : answers(own, cell, row, refill)));
  box.replaceChildren(...parts);
}
function groupTable(own, cell) {
  const out = [];
  for (const [key, values] of Object.entries(own.groups)) {
    const names = unique(values);
    if (names.length < 2 || names.length > 12) continue;
    const items = names.sort().map((name) => {
      const scores = cell.scores.filter((s, i) => values[i] === name && has(s));
      return scores.length ? make("span", { class: "tag" }, `${name || "–"} ${percent(mean(scores))} % (n ${scores.length})`) : "";
    });
    out.push(make("p", { class: "group" }, `by ${key.replaceAll("_", " ")}: `, ...items));
  }
  return out.length ? [make("h3", {}, "By group"), ...out] : [];
}
function filterButtons(entries, chosen, pick) {
  return make("div", { class: "quad", role: "group" }, ...entries.map(([key, text]) => make("button", { type: "button", "data-key": key, "aria-pressed": String(chosen === key), onclick: () => pick(key) }, text)));
}
function answers(own, cell, row, refill) {
  const kind = (i) => !has(cell.scores[i]) ? "none" : cell.scores[i] === 1 ? "right" : "wrong";
  const count = (k) => own.ids.filter((_, i) => k === "all" || kind(i) === k).length;
  const buttons = filterButtons([["all", `all ${count("all")}`], ["wrong", `wrong ${count("wrong")}`], ["right", `right ${count("right")}`]], detailView.filter, (k) => { detailView.filter = k; refill(); });
  const numbers = own.ids.map((_, i) => i).filter((i) => i in (cell.answers ?? []) && (detailView.filter === "all" || kind(i) === detailView.filter));
  return [buttons, heldNote(cell), sampleGrid(own, numbers, (i) => [view(own, cell, i), ...question(own, i), answerLine("", cell, i)])];
}
async function comparison(line, other, task, refill) {
  const saved = state.task;
  state.task = task;
  const pairs = await pairsOf(line, other).finally(() => { state.task = saved; });
  if (!pairs) return [make("p", { class: "note" }, "These rows share no sample.")];
  const found = pairedFinding(pairs), right = (v) => v === 1;
  const quadrant = (p) => right(p.a) ? (right(p.b) ? "both" : "a") : right(p.b) ? "b" : "neither";
  const names = [["", "all"], ["both", "both right"], ["a", `only ${line.label}`], ["b", `only ${other.label}`], ["neither", "both wrong"]];
  const buttons = filterButtons(names.map(([k, t]) => [k, `${t} ${pairs.filter((p) => !k || quadrant(p) === k).length}`]), detailView.quadrant, (k) => { detailView.quadrant = k; refill(); });
  const text = `${line.label} minus ${other.label}: ${signed(found.difference)} points [${signed(found.low)}, ${signed(found.high)}] over ${found.n} samples (paired bootstrap over screens or episodes).`;
  const chosen = pairs.filter((p) => !detailView.quadrant || quadrant(p) === detailView.quadrant);
  const byNumber = new Map(chosen.map((p) => [p.i, p])), own = pairs[0].tx;
  return [make("p", { id: "pair-finding" }, text), pairGroups(pairs, line, other), buttons, heldNote(pairs[0].cx), heldNote(pairs[0].cy), sampleGrid(own, [...byNumber.keys()].filter((i) => i in pairs[0].cx.answers), (i) => {
    const p = byNumber.get(i);
    return [view(own, p.cx, i), view(own, p.cy, i, p.j), ...question(own, i), answerLine(line.label, p.cx, i), answerLine(other.label, p.cy, p.j)];
  })];
}
// The same pair within every group of the benchmark.
function pairGroups(pairs, line, other) {
  const own = pairs[0].tx, body = make("tbody");
  for (const [key, values] of Object.entries(own.groups)) {
    const names = unique(values).sort();
    if (names.length < 2 || names.length > 12) continue;
    for (const name of names) {
      const some = pairs.filter((p) => values[p.i] === name);
      if (!some.length) continue;
      const found = pairedFinding(some), part = (side) => percent(mean(some.map((p) => p[side])));
      body.append(make("tr", {}, make("th", { class: "left", scope: "row" }, `${key.replaceAll("_", " ")}: ${name || "–"}`), ...[found.n, part("a"), part("b"), `${signed(found.difference)} [${signed(found.low)}, ${signed(found.high)}]`, found.better, found.worse].map((t) => make("td", {}, String(t)))));
    }
  }
  if (!body.children.length) return "";
  const heads = ["group", "samples", `${line.label} %`, `${other.label} %`, "difference", `${line.label} better`, `${other.label} better`];
  return make("details", { id: "pair-groups" }, make("summary", {}, "by group"), make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((h, i) => make("th", { class: i ? "" : "left", scope: "col" }, h)))), body),
    make("p", { class: "note" }, "Intervals: paired bootstrap over screens or episodes, not adjusted for the number of groups.")));
}
function sampleGrid(own, numbers, content) {
  // those with a picture first
  const ordered = [...numbers].sort((a, b) => (String(b) in own.pictures) - (String(a) in own.pictures) || a - b);
  const grid = make("div", { class: "samples" }), more = make("button", { type: "button", class: "more" });
  let shown = 0;
  const add = () => {
    for (const i of ordered.slice(shown, shown + SAMPLES)) grid.append(make("article", { class: "sample", "data-sample": own.ids[i] }, ...content(i).filter(Boolean)));
    shown = Math.min(ordered.length, shown + SAMPLES);
    more.textContent = `${ordered.length - shown} more`;
    more.hidden = shown >= ordered.length;
  };
  more.addEventListener("click", add);
  add();
  return make("div", {}, ordered.length ? grid : make("p", { class: "note" }, "No sample."), more);
}
const question = (own, i) => [own.asked[i] ? make("p", { class: "q" }, own.asked[i]) : make("p", { class: "q" }, own.ids[i]), own.expected[i] ? make("p", {}, make("span", { class: "note" }, "expected "), own.expected[i]) : ""];
function answerLine(name, cell, i) {
  const score = cell.scores[i], mark = score === 1 ? "✓" : has(score) ? "✗" : "·";
  return make("p", { class: "answer" }, make("span", { class: score === 1 ? "better" : "worse" }, `${mark} `), name ? make("span", { class: "note" }, `${name}: `) : "", make("span", { class: "said" }, cell.answers[i] || "(no answer)"), cell.reasons[i] && !["ok", "wrong"].includes(cell.reasons[i]) ? make("span", { class: "tag" }, cell.reasons[i]) : "");
}
// The picture, with the merge blocks that were dropped covered: before the decoder dark; inside it half, or where the
// records say so, the darker the fewer layers and heads hold a block.
function view(own, cell, i, at = i) {
  const picture = own.pictures[i], kept = cell.kept?.[at];
  if (!picture) return "";
  const frame = make("div", { class: "view" }, make("img", { src: encodeURI(picture[0]), alt: own.asked[i] || own.ids[i], width: picture[1], height: picture[2] }));
  if (!kept) return frame;
  const [bitmap, size, last, point, shares] = kept, bits = BigInt(`0x${bitmap || "0"}`), lastBits = BigInt(`0x${last || "0"}`);
  const block = blockOf(own, size);
  if (!block) return frame;
  const columns = Math.round(size[0] / block), rows = Math.round(size[1] / block), covers = [];
  for (let n = 0; n < columns * rows; n++) {
    const stays = (bits >> BigInt(n)) & 1n, ends = (lastBits >> BigInt(n)) & 1n;
    const held = shares ? Number(shares[n]) / 9 : stays && ends ? 1 : 0;
    if (stays && held === 1) continue;
    covers.push(make("svg:rect", { x: n % columns, y: Math.floor(n / columns), width: 1.02, height: 1.02, fill: "#888", "fill-opacity": !stays ? 0.86 : shares ? 0.2 + 0.6 * (1 - held) : 0.5 }));
  }
  frame.append(make("svg:svg", { viewBox: `0 0 ${columns} ${rows}`, preserveAspectRatio: "none", role: "img", "aria-label": `${columns * rows - covers.length} of ${columns * rows} blocks kept whole` }, ...covers));
  const box = own.boxes[i], [, width, height] = picture, marks = [];
  if (box) marks.push(make("svg:rect", { x: box[0], y: box[1], width: box[2] - box[0], height: box[3] - box[1], fill: "none", stroke: "#009e73", "stroke-width": 3, "vector-effect": "non-scaling-stroke" }));
  if (point) {
    const [x, y] = [point[0] * width, point[1] * height], r = 0.02 * Math.max(width, height);
    for (const [colour, thick] of [["#fff", 6], ["#d55e00", 3]]) marks.push(make("svg:path", { d: `M${x - r} ${y - r}L${x + r} ${y + r}M${x - r} ${y + r}L${x + r} ${y - r}`, stroke: colour, "stroke-width": thick, "vector-effect": "non-scaling-stroke" }));
  }
  if (marks.length) frame.append(make("svg:svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...marks));
  return frame;
}
// What a picture of a cache method shows, or why it shows nothing.
const heldNote = (cell) => !cell.cut ? "" : make("p", { class: "note" }, cell.cut === "known" ? "Shaded by the share of layers and heads that hold a block." : "What was dropped inside the decoder is not in these records (run with --record-kept full).");
const blockOf = (own, size) => [32, 28].find((b) => size[0] % b === 0 && size[1] % b === 0);
