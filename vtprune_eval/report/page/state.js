// What is looked at. It stands in the address, so that a view can be sent to somebody.
const MEAN = "mean over tasks";
const MEASURES = { accuracy: "accuracy", retention: "share of full's accuracy", recall: "target recall" };
const state = { scope: "", task: MEAN, axis: data.axes[0].key, y: "accuracy", methods: null, find: "", limits: {}, sort: "y", up: false, open: "", other: "" };

// A scope is what may be ranked together: one model with its weights, one reading of the budget, one version of the data.
const scopeKey = (r) => [r.group, r.model, r.weights, r.reading ?? "legacy"].join("|");
const scopes = [];
for (const row of data.rows) {
  let scope = scopes.find((s) => s.key === scopeKey(row));
  if (!scope) scopes.push(scope = { key: scopeKey(row), group: row.group, model: row.model, reading: row.reading ?? "legacy", rows: [], answers: 0 });
  scope.rows.push(row);
  scope.answers += row.n;
}
// The opening view: full-scale models, then embedded ones; within a group the scope with most answers.
const GROUP_ORDER = Object.keys(data.groups);
const SMALL = 500;
scopes.sort((a, b) => (a.answers < SMALL) - (b.answers < SMALL) || (a.reading === "legacy") - (b.reading === "legacy")
  || GROUP_ORDER.indexOf(a.group) - GROUP_ORDER.indexOf(b.group) || b.answers - a.answers);
const readingText = { equal: "equal reading of budgets", paper: "budgets as the papers read them", legacy: "budgets as earlier versions read them" };
const scopeText = (s) => `${s.model} · ${data.groups[s.group] ?? s.group} · ${readingText[s.reading] ?? s.reading} · ${s.answers} answers`;

const scope = () => scopes.find((s) => s.key === state.scope) ?? scopes[0];
// Per task one sample set: the one with most samples; rows of other sets are not mixed in.
function chosenSets() {
  const out = new Map();
  for (const row of scope()?.rows ?? []) {
    const known = out.get(row.task);
    if (!known || row.n > known.n) out.set(row.task, { set: row.set, n: row.n });
  }
  return out;
}
const tasksOf = () => [...chosenSets().keys()].sort();

// A line is a method at a budget with its settings; it has one row per task, and their mean where every task has one.
function allLines() {
  const sets = chosenSets(), lines = new Map();
  for (const row of scope()?.rows ?? []) {
    if (sets.get(row.task).set !== row.set) continue;
    const key = label(row);
    if (!lines.has(key)) lines.set(key, { key, label: key, method: row.method, budget: row.budget, set_to: row.set_to, by: {} });
    const line = lines.get(key);
    if (!(row.task in line.by) || (line.by[row.task].timed ?? 0) < (row.timed ?? 0)) line.by[row.task] = row;
  }
  for (const line of lines.values()) {
    const rows = Object.values(line.by);
    Object.assign(line, { first: rows[0], ranked: rows.every((r) => r.ranked), });
    line.complete = tasksOf().every((t) => t in line.by);
    for (const task of tasksOf()) line[`task:${task}`] = line.by[task]?.accuracy ?? null;
  }
  const full = lines.get("full");
  for (const line of lines.values()) settleLine(line, full);
  return [...lines.values()];
}
function settleLine(line, full) {
  const tasks = state.task === MEAN ? tasksOf() : [state.task];
  const rows = tasks.map((t) => line.by[t]);
  line.here = rows.every(Boolean) ? rows : [];
  line.noEffect = line.method !== "full" && line.here.length > 0 && line.here.every((r) => r.no_effect);
  const all = (key) => line.here.length && line.here.every((r) => has(r[key])) ? mean(line.here.map((r) => r[key])) : null;
  line.accuracy = all("accuracy");
  line.ci = null;
  if (has(line.accuracy)) {
    if (line.here.length === 1) line.ci = line.here[0].ci95 ?? null;
    else if (line.here.every((r) => has(r.ci95))) { // the tasks are independent: half widths add as squares
      const half = Math.sqrt(mean(line.here.map((r) => ((r.ci95[1] - r.ci95[0]) / 2) ** 2)) / line.here.length);
      line.ci = [Math.max(0, line.accuracy - half), Math.min(1, line.accuracy + half)];
    }
  }
  line.recall = all("target_recall");
  const base = full ? tasks.map((t) => full.by[t]?.accuracy) : [];
  line.retention = has(line.accuracy) && base.length && base.every(Boolean) ? line.accuracy / mean(base) : null;
  line.retentionCi = line.ci && has(line.retention) ? line.ci.map((v) => v / mean(base)) : null;
  for (const axis of data.axes) line[axis.key] = all(axis.key);
  line.speedup = all("speedup");
  line.speedupCi = line.here.length === 1 ? line.here[0].speedup_ci95 ?? null : null;
  line.difference = all("difference");
  line.finding = line.here.length === 1 ? line.here[0].finding : null;
}
const valueOf = (line) => line[state.y];
const intervalOf = (line) => state.y === "accuracy" ? line.ci : state.y === "retention" ? line.retentionCi : null;

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const key of ["scope", "task", "axis", "y", "find", "sort", "open", "other"]) if (given.has(key)) state[key] = given.get(key);
  if (given.has("methods")) state.methods = given.get("methods").split(",").filter(Boolean);
  if (given.has("up")) state.up = given.get("up") === "1";
  state.limits = {};
  for (const axis of data.axes) if (given.has(`max.${axis.key}`)) state.limits[axis.key] = Number(given.get(`max.${axis.key}`));
  if (!scopes.some((s) => s.key === state.scope)) state.scope = scopes[0]?.key ?? "";
  if (state.task !== MEAN && !tasksOf().includes(state.task)) state.task = MEAN;
  if (tasksOf().length === 1) state.task = tasksOf()[0];
  if (!axisOf(state.axis)) state.axis = data.axes[0].key;
  if (!(state.y in MEASURES)) state.y = "accuracy";
}
function writeAddress() {
  const out = new URLSearchParams();
  if (state.scope !== scopes[0]?.key) out.set("scope", state.scope);
  if (state.task !== MEAN) out.set("task", state.task);
  if (state.axis !== data.axes[0].key) out.set("axis", state.axis);
  if (state.y !== "accuracy") out.set("y", state.y);
  if (state.methods !== null) out.set("methods", state.methods.join(","));
  if (state.find) out.set("find", state.find);
  if (state.sort !== "y" || state.up) { out.set("sort", state.sort); out.set("up", state.up ? "1" : "0"); }
  for (const [key, value] of Object.entries(state.limits)) out.set(`max.${key}`, short(value));
  if (state.open) out.set("open", state.open);
  if (state.other) out.set("other", state.other);
  const text = out.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}
