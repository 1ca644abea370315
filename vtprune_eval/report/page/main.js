// Controls, and what is drawn again when one of them changes.
function select(text, key, options, texts = options) {
  const box = make("select", { id: `f-${key}`, onchange: (e) => { state[key] = e.target.value; if (key === "scope") Object.assign(state, { methods: null, limits: {}, open: "", other: "", task: MEAN }); redraw(); } });
  options.forEach((value, i) => box.append(make("option", { value }, texts[i])));
  box.value = state[key];
  return make("label", { for: `f-${key}` }, text, box);
}
function drawControls() {
  const tasks = tasksOf();
  if (tasks.length === 1) state.task = tasks[0];
  else if (state.task !== MEAN && !tasks.includes(state.task)) state.task = MEAN;
  const measured = (key) => data.rows.some((r) => has(r[key]));
  const measures = Object.keys(MEASURES).filter((y) => y !== "recall" || measured("target_recall"));
  const axes = data.axes.filter((a) => (scope()?.rows ?? []).some((r) => has(r[a.key])));
  if (axes.length && !axes.includes(axisOf(state.axis))) state.axis = axes[0].key;
  const active = document.activeElement?.id;
  byId("scope").replaceChildren(
    select("model (groups and readings are never mixed)", "scope", scopes.map((s) => s.key), scopes.map(scopeText)),
    select("task", "task", tasks.length > 1 ? [MEAN, ...tasks] : tasks),
    select("measure", "y", measures, measures.map((m) => MEASURES[m])),
    select("cost", "axis", axes.map((a) => a.key), axes.map((a) => `${a.label} (${a.unit})`)));
  if (active?.startsWith("f-")) byId(active)?.focus();
  const sets = [...chosenSets().values()].map((s) => s.set);
  byId("scope-note").textContent = sets.length ? `Samples: ${sets.join("; ")}.` : "No result is committed yet.";
}
function redraw(part = "all") {
  if (part === "all") { drawControls(); lines = allLines(); drawSliders(); drawMatrix(); }
  drawCurves();
  if (part === "all") { drawTable(); drawWithin(); }
  writeAddress();
}
byId("note").textContent = data.note;
byId("curve-tools").append(make("button", { type: "button", onclick: savePng }, "PNG"), " ", make("button", { type: "button", onclick: saveSvg }, "SVG"));
byId("table-tools").append(make("button", { type: "button", onclick: saveCsv }, "CSV"));
byId("find").addEventListener("input", (e) => { state.find = e.target.value; drawCurves(); drawTable(); writeAddress(); });
window.addEventListener("hashchange", () => { readAddress(); redraw(); });
new ResizeObserver(() => drawCurves()).observe(byId("curves").parentNode);
readAddress();
byId("find").value = state.find;
redraw();
