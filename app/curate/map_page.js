// The map of the Curate page in the browser: what is drawn around goes to Python as corners, a click to the editor.
// Runs once, as js_on_load of the line below the map; `element` is that line, `trigger` sends to Python.
const MOST_CORNERS = 300;
const PEEK_MS = 120; // that the pointer rests on a point before its picture is asked
let peeking = 0;

function corners({ lassoPoints, range }) {
  if (lassoPoints) {
    const step = Math.ceil(lassoPoints.x.length / MOST_CORNERS);
    return lassoPoints.x.map((x, index) => [x, lassoPoints.y[index]]).filter((_, index) => index % step === 0);
  }
  if (!range) return null;
  const [x0, x1] = range.x, [y0, y1] = range.y;
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
}

// What a point of the map is, as the editor opens it.
const placeOf = (point) => ({ [document.querySelector("#map-what input:checked").value === "pictures" ? "image" : "id"]: point });

function wireMap() {
  const graph = document.querySelector("#map .js-plotly-plot");
  if (!graph?.on || graph.wired) return;
  graph.wired = true;
  graph.on("plotly_selected", (event) => {
    const drawn = event && corners(event);
    if (drawn) trigger("click", { ask: { do: "select", corners: drawn } });
  });
  graph.on("plotly_click", ({ points }) => document.dispatchEvent(new CustomEvent("curate:open", { detail: placeOf(points[0].customdata) })));
  graph.on("plotly_hover", ({ points }) => {
    clearTimeout(peeking); // of the points that the pointer only passes, nothing is asked
    peeking = setTimeout(() => trigger("select", { ask: { id: points[0].customdata } }), PEEK_MS);
  });
  graph.on("plotly_deselect", () => trigger("click", { ask: { do: "clear" } }));
}
// The wheel zooms. Gradio passes no configuration on and draws a graph again with a configuration of its own: it is set as the
// wheel turns, before Plotly asks.
document.addEventListener("wheel", ({ target }) => {
  const zoom = target.closest?.("#map .js-plotly-plot")?._context?._scrollZoom;
  if (zoom) zoom.cartesian = true;
}, { capture: true, passive: true });
new MutationObserver(wireMap).observe(document.body, { childList: true, subtree: true });
wireMap();

element.addEventListener("submit", (event) => {
  event.preventDefault();
  const words = event.target.querySelector("input").value.trim();
  if (words) trigger("click", { ask: { do: "words", words } });
});
element.addEventListener("click", (event) => {
  const { image, chosen } = document.querySelector("#editor .editor")?.dataset ?? {};
  if (event.target.closest("[data-like]")) trigger("click", { ask: { do: "like", image, region: chosen } });
  if (!event.target.closest("[data-clear]")) return;
  const graph = document.querySelector("#map .js-plotly-plot");
  if (graph && window.Plotly) window.Plotly.restyle(graph, { selectedpoints: [null] });
  if (graph && window.Plotly) window.Plotly.relayout(graph, { selections: [] });
  trigger("click", { ask: { do: "clear" } });
});
