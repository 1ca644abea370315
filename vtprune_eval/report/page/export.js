// What is seen, as a file.
function download(name, blob) {
  const url = URL.createObjectURL(blob);
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
const fileStem = () => `${scope()?.model ?? "board"}-${state.task}-${state.y}-${state.axis}`.replace(/[^A-Za-z0-9._-]+/g, "-");
function svgText() {
  const svg = byId("curves").cloneNode(true), [, , width, height] = svg.getAttribute("viewBox").split(" ");
  svg.setAttribute("xmlns", SVG);
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  for (const node of svg.querySelectorAll("circle[fill=transparent]")) node.remove();
  const style = "text{font:12.5px system-ui,sans-serif;fill:#1b1f24}.dim{fill:#57606a}.grid{stroke:#d0d7de;stroke-width:.7}.halo{paint-order:stroke;stroke:#fff;stroke-width:4px}";
  svg.prepend(make("svg:style", {}, style), make("svg:rect", { width, height, fill: "#fff" }));
  return new XMLSerializer().serializeToString(svg).replaceAll("var(--back)", "#fff").replaceAll("currentColor", "#1b1f24");
}
const saveSvg = () => download(`${fileStem()}.svg`, new Blob([svgText()], { type: "image/svg+xml" }));
function savePng() {
  const image = new Image(), [, , width, height] = byId("curves").getAttribute("viewBox").split(" ").map(Number);
  image.onload = () => {
    const canvas = make("canvas", { width: 2 * width, height: 2 * height });
    canvas.getContext("2d").drawImage(image, 0, 0, 2 * width, 2 * height);
    canvas.toBlob((blob) => download(`${fileStem()}.png`, blob), "image/png");
  };
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svgText())}`;
}
// Numbers in numeric columns; a text that a spreadsheet would run as a formula gets a quotation mark in front.
function csvCell(value) {
  if (!has(value)) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) && Number.isNaN(Number(value)) ? `'${value}` : String(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
function csvText() {
  const heads = ["method", "budget", "settings", "stage", "ranked", "task", state.y, "low", "high", "difference", "speedup", "speedup low", "speedup high", "checked", ...data.axes.map((a) => `${a.key} (${a.unit})`)];
  const rows = sortedLines(lines.filter((l) => isSeen(l) && l.here.length)).map((l) => {
    const ci = intervalOf(l) ?? [null, null];
    return [l.method, l.budget, l.set_to, l.first.stage, l.ranked, state.task, valueOf(l), ci[0], ci[1], l.difference, l.speedup, l.speedupCi?.[0], l.speedupCi?.[1], statesOf(l).join("; "), ...data.axes.map((a) => cost(l, a))];
  });
  return [heads, ...rows].map((r) => r.map(csvCell).join(",")).join("\n") + "\n";
}
const saveCsv = () => download(`${fileStem()}.csv`, new Blob([csvText()], { type: "text/csv" }));
