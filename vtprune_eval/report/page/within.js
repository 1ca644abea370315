// "Best row within": limits on costs leave some rows; of these the undominated ones are listed.
function drawSliders() {
  const boxes = [];
  for (const axis of data.axes) {
    const values = lines.map((l) => l[axis.key]).filter((v) => has(v) && v > 0).map((v) => v * axis.factor);
    if (!values.length || Math.min(...values) === Math.max(...values)) continue;
    const low = Math.min(...values), high = Math.max(...values), steps = 100;
    const at = (i) => i >= steps ? null : low * (high / low) ** (i / steps);
    const limit = state.limits[axis.key];
    const out = make("output", {}, limit === undefined ? "no limit" : `at most ${short(limit)} ${axis.unit}`);
    const input = make("input", { type: "range", min: 0, max: steps, id: `max-${axis.key}`, "aria-label": `${axis.label}, at most`, "aria-valuetext": out.textContent, oninput: (e) => {
      const value = at(Number(e.target.value));
      if (value === null) delete state.limits[axis.key]; else state.limits[axis.key] = value;
      out.textContent = value === null ? "no limit" : `at most ${short(value)} ${axis.unit}`;
      e.target.setAttribute("aria-valuetext", out.textContent);
      drawWithin();
      drawTable();
      writeAddress();
    } });
    input.value = limit === undefined ? steps : Math.round(steps * Math.log(limit / low) / Math.log(high / low));
    boxes.push(make("label", { for: `max-${axis.key}` }, axis.label, input, out));
  }
  byId("sliders").replaceChildren(...boxes);
}
const within = (line) => Object.entries(state.limits).every(([key, limit]) => !has(line[key]) ? false : line[key] * axisOf(key).factor <= limit * (1 + 1e-9));
const limited = () => Object.keys(state.limits).length > 0;

// Undominated: no other row is at least as good at no more of every limited cost (of the drawn cost without limits).
function undominated(rows) {
  const keys = limited() ? Object.keys(state.limits) : [state.axis];
  const beats = (a, b) => valueOf(a) >= valueOf(b) && keys.every((k) => has(a[k]) && a[k] <= b[k]) && (valueOf(a) > valueOf(b) || keys.some((k) => a[k] < b[k]));
  return rows.filter((b) => keys.every((k) => has(b[k])) && !rows.some((a) => beats(a, b)));
}
let withinTurn = 0;
async function drawWithin() {
  const turn = ++withinTurn, box = byId("within");
  const fitting = lines.filter((l) => l.ranked && has(valueOf(l)) && within(l));
  const best = undominated(fitting).sort((a, b) => valueOf(b) - valueOf(a));
  if (!best.length) {
    box.replaceChildren(make("p", { class: "note" }, lines.length ? (lines.some((l) => has(valueOf(l))) ? "No ranked row is within these limits." : `These rows have no ${MEASURES[state.y]}, so that none is better than another.`) : "No result is here yet."));
    return;
  }
  const axis = axisOf(state.axis);
  const list = make("table", { id: "within-rows" }, make("thead", {}, make("tr", {}, make("th", { class: "left", scope: "col" }, "row"), make("th", { scope: "col" }, `${MEASURES[state.y]} %`), make("th", { scope: "col" }, `${axis.label} (${axis.unit})`))));
  const body = make("tbody");
  for (const line of best.slice(0, 6)) body.append(make("tr", {}, make("td", { class: "left" }, make("button", { type: "button", onclick: () => openLine(line.key) }, line.label)), make("td", {}, percent(valueOf(line)), make("span", { class: "ci" }, interval(intervalOf(line)))), make("td", {}, short(cost(line, axis)))));
  list.append(body);
  const finding = make("p", { class: "note", id: "within-finding" }, "");
  const how = limited() ? `Of ${fitting.length} rows within the limits these are undominated` : `Undominated of all ${fitting.length} rows on “${axis.label}”; set a limit to narrow them`;
  box.replaceChildren(make("p", { class: "note" }, `${how}${best.length > 6 ? ` (the first 6 of ${best.length})` : ""}.`), list, finding);
  if (best.length < 2 || state.y !== "accuracy") return;
  const [a, b] = best;
  const pairs = await pairsOf(a, b);
  if (turn !== withinTurn || !pairs) return;
  const found = pairedFinding(pairs);
  finding.textContent = `${a.label} minus ${b.label}, on the same ${found.n} samples: ${signed(found.difference)} points [${signed(found.low)}, ${signed(found.high)}] (paired bootstrap over screens or episodes); ${found.better} samples better, ${found.worse} worse: ${found.low > 0 || found.high < 0 ? "the interval excludes 0" : "not distinguishable"}. One of many possible pairs, not adjusted for having chosen it.`;
}

// Scores of two lines on the samples that both answered, over the tasks that are looked at.
async function pairsOf(a, b) {
  const out = [];
  for (const task of tasksInView()) {
    const [x, y] = [a.by[task], b.by[task]];
    if (!x || !y) return null;
    const [dx, dy] = await Promise.all([detailsOf(x.result), detailsOf(y.result)]);
    const [tx, ty] = [dx?.tasks[task], dy?.tasks[task]];
    const [cx, cy] = [tx?.cells[cellKey(x)], ty?.cells[cellKey(y)]];
    if (!cx || !cy) return null;
    const at = new Map(ty.ids.map((id, i) => [id, i]));
    tx.ids.forEach((id, i) => {
      const j = at.get(id);
      if (j === undefined || !has(cx.scores[i]) || !has(cy.scores[j])) return;
      out.push({ task, id, i, j, cluster: `${task}/${tx.clusters[i]}`, a: cx.scores[i], b: cy.scores[j], tx, cx, cy });
    });
  }
  return out.length ? out : null;
}
const cellKey = (row) => `${row.cell ?? row.method}@${row.method === "full" ? "100" : row.budget}`;

// The difference with a percentile bootstrap over clusters; the seed is fixed, so a view says the same to everybody.
function pairedFinding(pairs, draws = 1000) {
  const clusters = new Map();
  for (const p of pairs) {
    const c = clusters.get(p.cluster) ?? [0, 0];
    clusters.set(p.cluster, [c[0] + p.a - p.b, c[1] + 1]);
  }
  const list = [...clusters.values()], found = [];
  let seed = 12345;
  const random = () => { seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0; return seed / 2 ** 32; };
  for (let d = 0; d < draws; d++) {
    let sum = 0, n = 0;
    for (let i = 0; i < list.length; i++) { const c = list[Math.floor(random() * list.length)]; sum += c[0]; n += c[1]; }
    found.push(sum / n);
  }
  found.sort((x, y) => x - y);
  return { n: pairs.length, difference: mean(pairs.map((p) => p.a - p.b)), low: found[Math.floor(0.025 * draws)], high: found[Math.ceil(0.975 * draws) - 1],
    better: pairs.filter((p) => p.a > p.b).length, worse: pairs.filter((p) => p.a < p.b).length };
}
