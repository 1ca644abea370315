// What is looked at. It stands in the address, so that a view can be sent to somebody.
const MEAN = "mean over tasks";
const MEASURES = { accuracy: "accuracy", retention: "share of full's accuracy", recall: "target recall" };
const DEFAULTS = { scope: "", task: MEAN, axis: data.axes[0].key, y: "accuracy", methods: null, find: "", limits: {}, samples: "", sort: "y", up: false, open: "", other: "" };
const state = { ...DEFAULTS };

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
// Results that hold the same sample sets; each is a choice of samples, named by its first result.
const collections = () => once("collections", () => {
  const sets = new Map(), out = new Map();
  for (const row of scope()?.rows ?? []) sets.set(row.result, new Set([...(sets.get(row.result) ?? []), row.set]));
  for (const [result, own] of sets) {
    const key = [...own].sort().join("|");
    if (!out.has(key)) out.set(key, { name: result, results: new Set(), sets: own });
    out.get(key).results.add(result);
  }
  return [...out.values()];
});
// Those that differ from the opening view.
function otherCollections() {
  const most = new Map();
  for (const row of scope()?.rows ?? []) if (!(most.get(row.task)?.n >= row.n)) most.set(row.task, row);
  const largest = new Set([...most.values()].map((r) => r.set));
  return collections().filter((c) => [...c.sets].some((s) => !largest.has(s)));
}
// What follows from the scope and the samples alone is computed once for a view: it is asked for by every line.
const remembered = new Map();
function once(name, compute) {
  const key = `${name}|${state.scope}|${state.samples}`;
  if (!remembered.has(key)) remembered.set(key, compute());
  return remembered.get(key);
}
// Per task one sample set: the one with most samples, or that of the chosen collection; sets are never mixed.
const chosenSets = () => once("sets", () => {
  const out = new Map(), only = collections().find((c) => c.name === state.samples)?.sets;
  for (const row of scope()?.rows ?? []) {
    if (only && !only.has(row.set)) continue;
    const known = out.get(row.task);
    if (!known || row.n > known.n) out.set(row.task, { set: row.set, n: row.n });
  }
  return out;
});
const tasksOf = () => once("tasks", () => [...chosenSets().keys()].sort());
// A task with few answers beside the others is looked at on its own: in a mean it would hide every row that lacks it.
const SHARE_OF_MEAN = 0.2;
const meanTasks = () => once("mean", () => {
  const answers = new Map(), sets = chosenSets();
  for (const row of scope()?.rows ?? []) if (sets.get(row.task)?.set === row.set) answers.set(row.task, (answers.get(row.task) ?? 0) + row.n);
  const most = Math.max(0, ...answers.values());
  return tasksOf().filter((t) => answers.get(t) >= SHARE_OF_MEAN * most);
});

// A line is a method at a budget with its settings; it has one row per task, and their mean where every task has one.
function allLines() {
  const sets = chosenSets(), lines = new Map();
  for (const row of scope()?.rows ?? []) {
    if (sets.get(row.task)?.set !== row.set) continue;
    const key = label(row);
    if (!lines.has(key)) lines.set(key, { key, label: key, method: row.method, budget: row.budget, set_to: row.set_to, by: {} });
    const line = lines.get(key);
    if (!(row.task in line.by) || (line.by[row.task].timed ?? 0) < (row.timed ?? 0)) line.by[row.task] = row;
  }
  for (const line of lines.values()) {
    const rows = Object.values(line.by);
    Object.assign(line, { first: rows[0], ranked: rows.every((r) => r.ranked), });
    line.complete = meanTasks().every((t) => t in line.by);
    for (const task of tasksOf()) line[`task:${task}`] = line.by[task]?.accuracy ?? null;
  }
  const full = lines.get("full");
  for (const line of lines.values()) settleLine(line, full);
  return [...lines.values()];
}
const tasksInView = () => state.task === MEAN ? meanTasks() : [state.task];
function settleLine(line, full) {
  const tasks = tasksInView();
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
  const boxed = line.here.filter((r) => has(r.target_recall)); // of the tasks in view that have boxes
  line.boxed = boxed.length ? mean(boxed.map((r) => r.target_recall)) : null;
  const base = full ? tasks.map((t) => full.by[t]?.accuracy) : [];
  line.retention = has(line.accuracy) && base.length && base.every(Boolean) ? line.accuracy / mean(base) : null;
  line.retentionCi = line.ci && has(line.retention) ? line.ci.map((v) => v / mean(base)) : null;
  for (const axis of data.axes) line[axis.key] = all(axis.key);
  line.speedup = all("speedup");
  line.speedupCi = speedupInterval(line.here);
  line.difference = all("difference");
  line.finding = line.here.length === 1 ? line.here[0].finding : null;
}
// Of several tasks as of independent ratios: half widths of their logarithms add as squares.
function speedupInterval(rows) {
  if (!rows.length || !rows.every((r) => has(r.speedup_ci95) && r.speedup_ci95[0] > 0)) return null;
  if (rows.length === 1) return rows[0].speedup_ci95;
  const half = Math.sqrt(rows.reduce((a, r) => a + (Math.log(r.speedup_ci95[1] / r.speedup_ci95[0]) / 2) ** 2, 0)) / rows.length;
  const middle = mean(rows.map((r) => r.speedup));
  return [middle * Math.exp(-half), middle * Math.exp(half)];
}
const valueOf = (line) => line[state.y];
const intervalOf = (line) => state.y === "accuracy" ? line.ci : state.y === "retention" ? line.retentionCi : null;

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  Object.assign(state, { ...DEFAULTS, scope: scopes[0]?.key ?? "" });
  for (const key of ["scope", "task", "axis", "y", "find", "sort", "open", "other", "samples"]) if (given.has(key)) state[key] = given.get(key);
  if (given.has("methods")) state.methods = given.getAll("methods").filter(Boolean);
  if (given.has("up")) state.up = given.get("up") === "1";
  state.limits = {};
  for (const axis of data.axes) if (given.has(`max.${axis.key}`)) state.limits[axis.key] = Number(given.get(`max.${axis.key}`));
  if (!scopes.some((s) => s.key === state.scope)) state.scope = scopes[0]?.key ?? "";
  if (state.task !== MEAN && !tasksOf().includes(state.task)) state.task = MEAN;
  if (!collections().some((c) => c.name === state.samples)) state.samples = "";
  settleTask();
  if (!axisOf(state.axis)) state.axis = data.axes[0].key;
  if (!(state.y in MEASURES)) state.y = "accuracy";
}
// One task of its own where there is no mean.
function settleTask() {
  const tasks = tasksOf(), inMean = meanTasks();
  if (state.task !== MEAN && !tasks.includes(state.task)) state.task = MEAN;
  if (state.task === MEAN && inMean.length === 1) state.task = inMean[0];
}
function writeAddress() {
  const out = new URLSearchParams();
  if (state.scope !== scopes[0]?.key) out.set("scope", state.scope);
  if (state.task !== MEAN) out.set("task", state.task);
  if (state.axis !== data.axes[0].key) out.set("axis", state.axis);
  if (state.y !== "accuracy") out.set("y", state.y);
  if (state.methods !== null) for (const name of state.methods.length ? state.methods : [""]) out.append("methods", name); // names hold commas
  if (state.find) out.set("find", state.find);
  if (state.sort !== "y" || state.up) { out.set("sort", state.sort); out.set("up", state.up ? "1" : "0"); }
  for (const [key, value] of Object.entries(state.limits)) out.set(`max.${key}`, short(value));
  if (state.samples) out.set("samples", state.samples);
  if (state.open) out.set("open", state.open);
  if (state.other) out.set("other", state.other);
  const text = out.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}
