// The ranked table. It fits its screen: what is the same for all rows of a method stands under its name.
const FIRST_ROWS = matchMedia("(max-width: 760px)").matches ? 20 : 60;
let showAll = false, unfold = false;

function columns() {
  const axis = axisOf(state.axis);
  const tasks = state.task === MEAN && state.y === "accuracy" ? meanTasks() : [];
  return [
    { key: "name", head: "method", left: true, sort: (l) => l.method },
    { key: "budget", head: "budget", sort: (l) => budgetOrder(l.budget), show: (l) => l.method === "full" ? "–" : l.budget },
    { key: "y", head: `${state.task === MEAN ? "mean " : ""}${MEASURES[state.y]} %`, sort: valueOf, show: (l) => [percent(valueOf(l)), sub("ci", interval(intervalOf(l)))] },
    ...tasks.map((t) => ({ key: `task:${t}`, head: t, sort: (l) => l[`task:${t}`], show: (l) => [percent(l[`task:${t}`]), sub("ci", interval(l.by[t]?.ci95))] })),
    { key: "difference", head: "against full", sort: (l) => l.difference, show: (l) => l.method === "full" ? "–" : [signed(l.difference), sub("sub", l.finding ?? "")] },
    { key: "cost", head: `${axis.label} (${axis.unit})`, sort: (l) => l[axis.key], show: (l) => short(cost(l, axis)) },
    ...(axis.key === "layer_visual_pct" ? [] : [{ key: "achieved", head: "tokens per layer %", sort: (l) => l.layer_visual_pct, show: (l) => fixed(l.layer_visual_pct, 1) }]),
    ...(state.y !== "recall" && lines.some((l) => has(l.boxed)) ? [{ key: "boxed", head: "target recall %", sort: (l) => l.boxed, show: (l) => percent(l.boxed) }] : []),
    { key: "speedup", head: "speed-up", sort: (l) => l.speedup, show: (l) => has(l.speedup) ? [`${fixed(l.speedup, 2)}×`, sub("ci", speedText(l))] : "–" },
  ];
}
const sub = (kind, text) => text ? make("span", { class: kind }, text) : "";
function speedText(line) {
  if (!line.speedupCi) return "";
  const [low, high] = line.speedupCi;
  return `[${fixed(low, 2)}, ${fixed(high, 2)}]${low <= 1 && high >= 1 && line.method !== "full" ? " no speed-up shown" : ""}`;
}
function sortedLines(rows) {
  const column = columns().find((c) => c.key === state.sort) ?? columns()[2], sign = state.up ? 1 : -1;
  return [...rows].sort((a, b) => {
    const [x, y] = [column.sort(a), column.sort(b)];
    if (!has(x) || !has(y)) return has(x) ? -1 : has(y) ? 1 : a.label.localeCompare(b.label);
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
    return sign * order || a.method.localeCompare(b.method) || budgetOrder(a.budget) - budgetOrder(b.budget);
  });
}
// The paper in a few letters: its number where it has one.
const paperOf = (row) => row.paper ? [...row.paper.matchAll(/\b(\d{4}\.\d{4,5})\b/g)].map((m) => `arXiv ${m[1]}`).slice(0, 2).join(", ") || `${row.paper.slice(0, 28)}` : "";
// What the search, the limits and the chosen task leave.
function isSeen(line) {
  if (!has(valueOf(line)) && !line.here.length) return false;
  const find = state.find.toLowerCase();
  return line.method === "full" || ((line.label.toLowerCase().includes(find) || (line.first.stage ?? "").includes(find)) && within(line));
}
function nameCell(line, rank) {
  const r = line.first, tags = [r.stage === "none" ? "" : r.stage, paperOf(r), r.query_aware === true ? "query-aware" : "", r.trained === true ? "trained" : "", r.origin, line.ranked ? "" : "not ranked: reads the target", line.noEffect ? "dropped nothing" : "", ...statesOf(line)];
  const notes = line.method === "full" ? [] : unique(line.here.flatMap((x) => x.notes ?? []));
  return make("td", { class: "left name", "data-key": "name" }, make("span", {}, rank ? `${rank}. ` : "", make("b", {}, line.method)),
    line.set_to ? sub("sub", line.set_to) : "", make("span", { class: "sub" }, ...tags.filter(Boolean).map((t) => make("span", { class: "tag" }, t))),
    ...notes.slice(0, 2).map((n) => sub("sub", n)));
}
// States that all rows of the line have.
const statesOf = (line) => (line.here[0]?.states ?? []).filter((s) => line.here.every((r) => (r.states ?? []).includes(s)));
function drawTable() {
  const cols = columns(), head = make("tr");
  for (const column of cols) {
    const button = make("button", { type: "button", "data-key": column.key, onclick: () => {
      state.up = state.sort === column.key ? !state.up : Boolean(column.left) || ["cost", "achieved", "budget"].includes(column.key);
      state.sort = column.key;
      drawTable();
      writeAddress();
      document.querySelector(`#rows button[data-key="${CSS.escape(column.key)}"]`)?.focus();
    } }, column.head);
    const cell = make("th", { scope: "col", class: column.left ? "left" : "" }, button);
    if (state.sort === column.key) cell.setAttribute("aria-sort", state.up ? "ascending" : "descending");
    head.append(cell);
  }
  document.querySelector("#rows thead").replaceChildren(head);
  const all = sortedLines(lines.filter(isSeen));
  const effective = all.filter((l) => !l.noEffect || unfold || l.key === state.open), folded = all.length - effective.length;
  const visible = showAll ? effective : effective.slice(0, FIRST_ROWS);
  const open = effective.find((l) => l.key === state.open);
  if (open && !visible.includes(open)) visible.push(open);
  let rank = 0;
  const byValue = state.sort === "y" && !state.up;
  const body = [];
  for (const line of visible) {
    const number = byValue && line.ranked && line.method !== "full" && has(valueOf(line)) ? ++rank : 0;
    const row = make("tr", { class: `row${line.method === "full" ? " full" : ""}${line.ranked ? "" : " aside"}${line.key === state.open ? " open" : ""}`, tabindex: "0", "aria-expanded": String(line.key === state.open), "data-line": line.key,
      onclick: () => openLine(line.key === state.open ? "" : line.key, false), onkeydown: (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); openLine(line.key === state.open ? "" : line.key, false); } } });
    for (const column of cols) {
      if (column.key === "name") { row.append(nameCell(line, number)); continue; }
      const content = column.show(line);
      row.append(make("td", { "data-key": column.key, "data-head": column.head, class: column.left ? "left" : "" }, ...(Array.isArray(content) ? content : [content])));
    }
    body.push(row);
    if (line.key === state.open) body.push(detailRow(line, cols.length));
  }
  document.querySelector("#rows tbody").replaceChildren(...body);
  byId("count").textContent = lines.length
    ? `${all.length} rows${folded ? `, ${folded} of them without effect (they dropped nothing) and folded` : ""}${limited() ? ", within the limits above" : ""}. Upper bounds that read the target have no rank. Choose a row for its settings, command and answers.`
    : "No result is committed yet.";
  byId("more").replaceChildren(
    effective.length > visible.length ? make("button", { type: "button", onclick: () => { showAll = true; drawTable(); } }, `show all ${effective.length} rows`) : "",
    folded ? make("button", { type: "button", onclick: () => { unfold = true; drawTable(); } }, `unfold ${folded} rows without effect`) : "");
}
function openLine(key, scroll = true) {
  state.open = key;
  state.other = "";
  detailView = { filter: "all", quadrant: "" };
  drawTable();
  writeAddress();
  const row = document.querySelector("#rows tr.open");
  if (row) { if (scroll) row.scrollIntoView({ block: "start", behavior: "auto" }); row.focus({ preventScroll: true }); }
}

// Methods x budgets for every task: what was run here, and what was not.
function drawMatrix() {
  const tasks = tasksOf(), methods = unique(lines.map((l) => l.set_to ? `${l.method} (${l.set_to})` : l.method)).sort();
  const table = make("table", {}, make("thead", {}, make("tr", {}, make("th", { class: "left" }, "method"), ...tasks.map((t) => make("th", { scope: "col" }, t)))));
  const body = make("tbody");
  for (const method of methods) {
    const row = make("tr", {}, make("th", { class: "left", scope: "row" }, method));
    for (const task of tasks) {
      const budgets = lines.filter((l) => (l.set_to ? `${l.method} (${l.set_to})` : l.method) === method && l.by[task]).map((l) => l.budget).sort((a, b) => budgetOrder(a) - budgetOrder(b));
      row.append(make("td", { class: budgets.length ? "" : "no" }, budgets.length ? (method === "full" ? "run" : budgets.join(", ")) : "not run"));
    }
    body.append(row);
  }
  table.append(body);
  byId("matrix").replaceChildren(table);
}
