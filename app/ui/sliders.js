// The sliders of all pages. Runs once, as js_on_load of the navigation.
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
const MOVES = /^(Arrow|Page|Home|End)/;
const number = (event, act) => event.target.matches?.("[data-testid=number-input]") && act(event.target);
const release = (field) => field.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
document.addEventListener("focusin", (event) => number(event, (field) => (field.dataset.before = field.value)));
document.addEventListener("blur", (event) => number(event, correctNumber), true);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter") number(event, (field) => (correctNumber(field), release(field)));
}, true);
document.addEventListener("keyup", ({ key, target }) => {
  if (MOVES.test(key) && target.matches?.("[data-testid=range-input], [data-testid=number-input]")) release(target);
});
