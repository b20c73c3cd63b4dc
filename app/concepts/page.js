// The page Novel concepts in the browser: clicks, fields and keys become questions to Python; the address names the place.
// Runs once, as js_on_load of the work; `element` is the work, `trigger` sends what is asked.
let focused = null;
const LABELLING = ["label", "skip", "undo"]; // of the picture on the screen

const label = oneAtATime(element, (wanted) => trigger("submit", { ask: wanted }));

function ask(wanted) {
  if (LABELLING.includes(wanted.do)) label(wanted);
  else trigger("click", { ask: wanted });
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-ask]");
  if (button) ask(JSON.parse(button.dataset.ask));
});
element.addEventListener("change", (event) => {
  const field = event.target.closest("[data-say]");
  if (field) ask({ ...JSON.parse(field.dataset.say), value: field.value });
});
element.addEventListener("focusin", (event) => (focused = event.target.closest("[data-key]")?.dataset.key ?? null));

const help = keysDialog([
  ["1 … 9, Q, W, …", "the picture shows this class"],
  ["0", "none of these"],
  ["N", "later: the next picture"],
  ["Z", "undo my last label"],
  ["?", "this list"],
]);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, [role=listbox]")) return;
  const work = element.querySelector(".label-work");
  if (!work) return;
  const key = event.key.toLowerCase();
  if (key === "?") return help.open ? help.close() : help.showModal();
  if (help.open) return;
  if (key === "z") return ask({ do: "undo" });
  if (key === "n") return ask({ do: "skip" });
  const choice = key.length === 1 ? work.querySelector(`[data-choice="${CSS.escape(key)}"]`) : null;
  if (choice) choice.click();
});
document.addEventListener("click", (event) => {
  if (event.target.closest?.(".show-keys")) help.showModal();
});

// A link restores the place: the set, the step and the stated name.
function keepAddress() {
  const place = element.querySelector("[data-place]");
  if (!place) return;
  const query = new URLSearchParams(Object.entries(JSON.parse(place.dataset.place)).filter(([, value]) => value));
  history.replaceState(null, "", `${location.pathname}?${query}`);
}
watch("value", () => {
  keepAddress();
  if (focused) [...element.querySelectorAll("[data-key]")].find((field) => field.dataset.key === focused)?.focus();
});
keepAddress();
