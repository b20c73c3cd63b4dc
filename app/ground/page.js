// The Ground page in the browser: hover, toggles, lighting a region and its row of the matrix, and the keys.
// Runs once, as js_on_load of the stage; `element` is the stage, `watch` tells when Python has drawn it again.
const FADED = "faded", LIT = "lit", OFF = "off";
const hidden = new Set(); // descriptions switched off, by text: they stay off in the next run
let lit = null; // the region that is lit, or null
let guess = null; // the description whose likeliest place is shown though it was not found, or null

const all = (selector, root = element) => [...root.querySelectorAll(selector)];
const textOf = (chip) => chip.querySelector("span").textContent;

function chips() {
  return all(".chip:not([disabled])");
}

function apply() {
  const off = new Set(all(".chip").filter((chip) => hidden.has(textOf(chip))).map((chip) => chip.dataset.description));
  for (const chip of all(".chip")) {
    const { description, likeliest } = chip.dataset;
    chip.setAttribute("aria-pressed", String(likeliest ? description === guess : !off.has(description)));
  }
  for (const mark of all(".likeliest, .likeliest-tag")) mark.classList.toggle(LIT, mark.dataset.description === guess);
  for (const mark of all(".region, .versus, .tag:not(.likeliest-tag)")) {
    mark.classList.toggle(OFF, off.has(mark.dataset.description));
    mark.classList.toggle(LIT, lit !== null && mark.dataset.region === lit);
    mark.classList.toggle(FADED, guess !== null || (lit !== null && mark.dataset.region !== lit));
  }
  const drawn = all(".region").some((region) => region.dataset.region === lit && !region.classList.contains(OFF));
  for (const frame of all(".frame")) placeLabels(frame); // one that is shown again needs room
  for (const ghost of all(".ghost")) ghost.classList.toggle(LIT, ghost.dataset.region === lit && !drawn);
  lightRow();
}

function light(region) {
  guess = null;
  lit = region === lit ? null : region;
  apply();
}

function toggle(chip) {
  const text = textOf(chip), { description, likeliest } = chip.dataset;
  if (likeliest) [guess, lit] = [guess === description ? null : description, null];
  else hidden.has(text) ? hidden.delete(text) : hidden.add(text);
  apply();
}

// ---------------------------------------------------------------- hover
const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("role", "tooltip");

function showTip(target, event) {
  const { description, region } = target.dataset;
  const known = target.dataset.text ? target : element.querySelector(`.region[data-description="${description}"]`);
  const { text, score, of } = known?.dataset ?? {};
  if (!text || (!region && !of)) return; // the label of a second checkpoint's box
  tip.textContent = "";
  const strong = document.createElement("b");
  strong.textContent = text;
  tip.append(strong, of ? ` ${of}, cosine ${score}` : ` region ${region}, cosine ${score}`);
  document.body.append(tip);
  const room = window.innerWidth - tip.offsetWidth - 12;
  tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, room))}px`;
  tip.style.top = `${event.clientY + 18}px`;
}

element.addEventListener("pointermove", (event) => {
  const target = event.target.closest?.(".region, .versus, .ghost.lit, .likeliest.lit, .tag");
  target ? showTip(target, event) : tip.remove();
});
element.addEventListener("pointerleave", () => tip.remove());

// ---------------------------------------------------------------- clicks
element.addEventListener("click", (event) => {
  const chip = event.target.closest(".chip");
  if (chip) return toggle(chip);
  const region = event.target.closest(".region, .ghost.lit, .tag");
  if (region?.dataset.region) light(region.dataset.region);
});
element.addEventListener("keydown", (event) => {
  const region = event.target.closest?.(".region");
  if (region && (event.key === "Enter" || event.key === " ")) {
    event.preventDefault();
    light(region.dataset.region);
  }
});

// ---------------------------------------------------------------- the matrix: a new plot each time Python draws
const plot = () => document.querySelector("#matrix .js-plotly-plot");

function lightRow() {
  const graph = plot();
  if (!graph?.layout || !window.Plotly) return;
  graph.outlines ??= graph.layout.shapes ?? [];
  const columns = graph.data[0]?.z?.[0]?.length ?? graph.data[0]?.z?.shape?.split(",")[1] ?? 0;
  const row = Number(lit);
  const box = { type: "rect", x0: -0.5, x1: columns - 0.5, y0: row - 0.5, y1: row + 0.5, line: { width: 2, dash: "dot" } };
  const ink = getComputedStyle(document.body).getPropertyValue("--body-text-color").trim() || "#888";
  box.line.color = ink;
  window.Plotly.relayout(graph, { shapes: lit === null ? graph.outlines : [...graph.outlines, box] });
}

function wirePlot() {
  const graph = plot();
  if (!graph?.on || graph.wired) return;
  graph.wired = true;
  graph.on("plotly_click", ({ points }) => {
    lit = null;
    light(String(points[0].y));
  });
  lightRow();
}
new MutationObserver(wirePlot).observe(document.body, { childList: true, subtree: true });

// ---------------------------------------------------------------- keys
const KEYS = [
  ["Ctrl Enter", "run"],
  ["1 … 9", "show or hide a description"],
  ["0", "show all descriptions"],
  ["← →", "light the previous or next region"],
  ["Esc", "light none"],
  ["?", "this list"],
];
const help = keysDialog(KEYS);

function step(by) {
  const regions = [...new Set(all(".region").map((region) => region.dataset.region))].sort((a, b) => a - b);
  if (!regions.length) return;
  const next = lit === null ? (by > 0 ? 0 : regions.length - 1) : regions.indexOf(lit) + by;
  lit = null;
  light(regions[(next + regions.length) % regions.length]);
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    document.querySelector("#run-button")?.click();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, [role=listbox]")) return;
  const number = Number.parseInt(event.key, 10);
  if (event.key === "?") help.open ? help.close() : help.showModal();
  else if (event.key === "Escape") light(lit);
  else if (event.key === "ArrowRight") step(1);
  else if (event.key === "ArrowLeft") step(-1);
  else if (number === 0) hidden.clear(), (guess = null), apply();
  else if (number) chips().filter((chip) => Number(chip.dataset.description) === number - 1).forEach(toggle);
});
document.addEventListener("click", (event) => {
  if (event.target.closest?.(".show-keys")) help.showModal();
});

// ---------------------------------------------------------------- what only the browser knows: its own address
const home = () => window.location.origin + window.location.pathname;
function fillAddress() {
  for (const origin of document.querySelectorAll("#code .origin")) {
    if (origin.textContent !== home()) origin.textContent = home();
  }
  for (const field of document.querySelectorAll("#link input")) {
    const full = new URL(field.getAttribute("value"), home()).href;
    if (field.value !== full) field.value = full;
  }
}
document.addEventListener("focusin", (event) => {
  if (event.target.matches?.("#link input")) event.target.select();
});
new MutationObserver(fillAddress).observe(document.body, { childList: true, subtree: true, attributes: true });

new ResizeObserver(() => all(".frame").forEach(placeLabels)).observe(element);

// ---------------------------------------------------------------- a run's result: on a phone it lies below the form
let asked = false;
document.addEventListener("click", (event) => {
  if (event.target.closest?.("#run-button, #gallery button")) asked = true;
});

watch("value", () => {
  document.body.classList.remove("stale-result");
  keepForm();
  if (asked && element.getBoundingClientRect().top > window.innerHeight * 0.6) element.scrollIntoView({ block: "start" });
  asked = false;
  if (lit !== null && !all(".ghost").some((ghost) => ghost.dataset.region === lit)) lit = null;
  guess = null;
  tip.remove();
  apply();
});
apply();
