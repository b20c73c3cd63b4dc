// A page's list of keys, for `?`: [key, what it does] each.
function keysDialog(keys) {
  const help = document.createElement("dialog");
  help.className = "keys-dialog";
  help.innerHTML = `<h2>Keys</h2><dl>${keys.map(([key, what]) => `<dt><kbd>${key}</kbd></dt><dd>${what}</dd>`).join("")}</dl>
<form method="dialog"><button>Close</button></form>`;
  document.querySelector(".gradio-container").append(help);
  return help;
}

// One act at a time: what is pressed while an answer is awaited would be about what is about to go, so it means nothing.
// `element` shows that by aria-busy. "answered" comes from events.py when an act has ended, well or not.
function oneAtATime(element, act) {
  document.addEventListener("answered", () => element.removeAttribute("aria-busy"));
  return (wanted) => {
    if (element.hasAttribute("aria-busy")) return;
    element.setAttribute("aria-busy", "true");
    act(wanted);
  };
}

// A slider tells its value when a pointer lets go of it; keys do the same: arrows on it, Enter in its number. A number that
// is empty or out of bounds would be sent before Gradio corrects it: it becomes the one before, or the nearest.
function correctNumber(number) {
  const range = number.closest?.(".wrap")?.querySelector("[data-testid=range-input]");
  if (!range || number === range) return;
  const { min, max } = range, before = number.dataset.before ?? min;
  const value = number.value === "" ? before : String(Math.min(Math.max(Number(number.value), min), max));
  if (number.value === "" || Number(value) !== Number(number.value)) {
    number.value = value;
    number.dispatchEvent(new Event("input", { bubbles: true }));
  }
  number.dataset.before = value;
}
function releaseByKeys() {
  const page = document.documentElement, moves = /^(Arrow|Page|Home|End)/;
  if (page.dataset.sliders) return; // by another script of the page
  page.dataset.sliders = "heard";
  const number = (event, act) => event.target.matches?.("[data-testid=number-input]") && act(event.target);
  const release = (field) => field.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
  document.addEventListener("focusin", (event) => number(event, (field) => (field.dataset.before = field.value)));
  document.addEventListener("blur", (event) => number(event, correctNumber), true);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter") number(event, (field) => (correctNumber(field), release(field)));
  }, true);
  document.addEventListener("keyup", ({ key, target }) => {
    if (moves.test(key) && target.matches?.("[data-testid=range-input], [data-testid=number-input]")) release(target);
  });
}
releaseByKeys();
