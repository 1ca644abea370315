// Controls, and what is drawn again when one of them changes.
function select(text, key, options, texts = options) {
  const box = make("select", { id: `f-${key}`, onchange: (e) => { state[key] = e.target.value; if (key === "scope" || key === "samples") Object.assign(state, { methods: null, limits: {}, open: "", other: "", task: MEAN }); if (key === "scope") state.samples = ""; redraw(); } });
  options.forEach((value, i) => box.append(make("option", { value }, texts[i])));
  box.value = state[key];
  return make("label", { for: `f-${key}` }, text, box);
}
function collectionText(choice) {
  const rows = scope().rows.filter((r) => choice.results.has(r.result)), sizes = new Map(rows.map((r) => [r.task, r.n]));
  return `${[...sizes].map(([task, n]) => `${task} ${n}`).join(", ")} · ${choice.results.size === 1 ? choice.name : `${choice.results.size} results`}`;
}
function drawControls() {
  const tasks = tasksOf(), inMean = meanTasks(), choices = otherCollections();
  settleTask();
  const measured = (key) => data.rows.some((r) => has(r[key]));
  const measures = Object.keys(MEASURES).filter((y) => y !== "recall" || measured("target_recall"));
  const axes = data.axes.filter((a) => (scope()?.rows ?? []).some((r) => has(r[a.key])));
  if (axes.length && !axes.includes(axisOf(state.axis))) state.axis = axes[0].key;
  const active = document.activeElement?.id;
  byId("scope").replaceChildren(
    select("model (groups and readings are never mixed)", "scope", scopes.map((s) => s.key), scopes.map(scopeText)),
    select("task", "task", inMean.length > 1 ? [MEAN, ...tasks] : tasks),
    ...(choices.length ? [select("samples", "samples", ["", ...choices.map((c) => c.name)], ["the largest set of each task", ...choices.map(collectionText)])] : []),
    select("measure", "y", measures, measures.map((m) => MEASURES[m])),
    select("cost", "axis", axes.map((a) => a.key), axes.map((a) => `${a.label} (${a.unit})`)));
  if (active?.startsWith("f-")) byId(active)?.focus();
  const sets = [...chosenSets().values()].map((s) => s.set), apart = tasks.filter((t) => !inMean.includes(t));
  byId("scope-note").textContent = sets.length
    ? `Samples: ${sets.join("; ")}.${inMean.length > 1 && apart.length ? ` Too few answers for the mean: ${apart.join(", ")}.` : ""}` : "No result is committed yet.";
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
