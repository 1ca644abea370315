// Data, elements, numbers. Text of results only ever enters the page as a text node or an attribute value.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
// Okabe and Ito's colours, which people with colour blindness tell apart; dash and marker say the same again.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f", "#7f7f7f"];
const DASHES = ["", "6 3", "2 3", "9 3 2 3"];
const MARKERS = ["circle", "square", "triangle", "diamond", "cross"];

function make(tag, attributes = {}, ...children) {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined && c !== ""));
  return node;
}
const unique = (items) => [...new Set(items)];
const has = (v) => v !== null && v !== undefined;
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
function fixed(value, digits) {
  if (!has(value)) return "–";
  return value !== 0 && Math.abs(value) < 10 ** -digits ? value.toPrecision(2) : value.toFixed(digits);
}
// Three significant digits without an exponent: 0.0123, 1.23, 12.3, 123, 12300.
function short(value) {
  if (!has(value)) return "–";
  if (value === 0) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return String(Number(value.toFixed(Math.min(digits, 8))));
}
const percent = (v) => has(v) ? fixed(100 * v, 1) : "–";
const interval = (ci) => has(ci) ? `[${percent(ci[0])}, ${percent(ci[1])}]` : "";
const signed = (v) => has(v) ? `${v > 0 ? "+" : ""}${fixed(100 * v, 1)}` : "–";
const axisOf = (key) => data.axes.find((a) => a.key === key);
const cost = (row, axis) => has(row[axis.key]) ? row[axis.key] * axis.factor : null;
// Budgets sort as numbers, the words (auto, like:...) behind them.
const budgetOrder = (b) => b === "-" ? -1 : Number.isFinite(parseFloat(b)) ? parseFloat(b) : 1e9;
const label = (row) => row.method === "full" ? "full" : `${row.method} @ ${row.budget}${row.set_to ? ` (${row.set_to})` : ""}`;

// Unpack the details of a result; each is unpacked once.
const unpacked = new Map();
function detailsOf(name) {
  if (!unpacked.has(name)) {
    const node = byId(`details-${name}`);
    unpacked.set(name, !node ? Promise.resolve(null) : (async () => {
      const bytes = Uint8Array.from(atob(node.textContent), (c) => c.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      return JSON.parse(await new Response(stream).text());
    })());
  }
  return unpacked.get(name);
}
