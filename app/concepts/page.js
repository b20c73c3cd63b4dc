// The page Novel concepts in the browser: clicks, fields and keys become questions to Python; the address names the place.
// Runs once, as js_on_load of the work; `element` is the work, `trigger` sends what is asked.
let focused = null;
// A field's key -> { seen, wrote, text }: what it showed before, what was asked to be saved since, what is in it now.
const typed = new Map();
const LABELLING = ["label", "skip", "undo"]; // of the picture on the screen

const label = oneAtATime(element, (wanted) => trigger("submit", { ask: wanted }));

function ask(wanted) {
  if (LABELLING.includes(wanted.do)) label(wanted);
  else trigger("click", { ask: wanted });
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-ask]");
  if (button) ask(withSeen(JSON.parse(button.dataset.ask)));
});
// What was shown of a thing that buttons decide, and what was pressed since: the answers may be on their way.
const pressed = new Map();
function withSeen(wanted) {
  if (!("seen" in wanted)) return wanted;
  const about = `${wanted.do} ${wanted.id ?? wanted.image}`;
  const since = pressed.get(about) ?? [], from = since.lastIndexOf(wanted.seen);
  const seen = from < 0 ? [wanted.seen] : since.slice(from);
  pressed.set(about, [...seen, wanted.value]);
  return { ...wanted, seen };
}
element.addEventListener("change", (event) => {
  const field = event.target.closest("[data-say]");
  if (!field) return;
  const wanted = { ...JSON.parse(field.dataset.say), value: field.value }, { key } = field.dataset;
  if (!("seen" in wanted)) return typed.delete(key), ask(wanted);
  const { seen, wrote } = typed.get(key) ?? { seen: wanted.seen, wrote: [] };
  ask({ ...wanted, seen: [seen, ...wrote] }); // what was written may not be answered yet
  typed.set(key, { seen, wrote: [...wrote, field.value], text: field.value });
});
element.addEventListener("input", ({ target: field }) => {
  const { say, key } = field.dataset;
  if (say) typed.set(key, { seen: JSON.parse(say).seen, wrote: [], ...typed.get(key), text: field.value });
});
element.addEventListener("keydown", ({ key, target: field }) => {
  if (key === "Enter" && field.dataset.say) field.blur(), (focused = null);
});
// The elements of an answer are those that were there before: a field may be another picture's by now, and must not keep
// what was typed for the one before. What is not saved is shown where it belongs.
function fillFields() {
  for (const field of element.querySelectorAll("[data-say]")) {
    const { key, say } = field.dataset, mine = typed.get(key), now = oneLine(JSON.parse(say).seen);
    const before = mine && [mine.seen, ...mine.wrote.slice(0, -1)].map(oneLine); // it is so while the last is on its way
    if (mine && key !== focused && !before.includes(now)) typed.delete(key);
    const text = typed.get(key)?.text ?? field.defaultValue;
    if (field.value !== text) field.value = text;
  }
}
// Of many classes the field keeps those with the words typed; Enter takes the one of that name, or the first.
element.addEventListener("input", (event) => {
  if (event.target.closest(".find-class")) keepChoices(event.target.value);
});
element.addEventListener("keydown", (event) => {
  const field = event.target.closest(".find-class");
  if (event.key !== "Enter" || !field?.value.trim()) return;
  const kept = choices().filter((choice) => !choice.hidden);
  if (!kept.length) return;
  const named = kept.find((choice) => plain(choice.querySelector("b")) === field.value.trim().toLowerCase());
  field.value = ""; // for the next picture
  keepChoices("");
  (named ?? kept[0]).click();
});

function keepChoices(typed) {
  const words = typed.toLowerCase().split(/\s+/);
  for (const choice of choices()) {
    const own = [...choice.querySelectorAll("b, .quiet")].map(plain).join(" ");
    choice.hidden = !words.every((word) => own.includes(word));
  }
}

function choices() {
  return [...element.querySelectorAll(".choices button")];
}

function oneLine(text) {
  return String(text).trim().replace(/\s+/g, " "); // as texts are saved
}

function plain(part) {
  return part.textContent.toLowerCase();
}

document.addEventListener("pointerdown", (event) => event.target.closest?.("[data-key]") || (focused = null));
document.addEventListener("focusin", (event) => (focused = event.target.closest("[data-key]")?.dataset.key ?? null));

const help = keysDialog([
  ["1 … 9, Q, W, …", "the picture shows this class"],
  ["0", "none of these"],
  ["/", "find a class, where there are more than keys"],
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
  const find = work.querySelector(".find-class");
  if (key === "/" && find) return event.preventDefault(), find.focus();
  if (key === "z") return ask({ do: "undo" });
  if (key === "n") return ask({ do: "skip" });
  const choice = key.length === 1 ? work.querySelector(`[data-choice="${CSS.escape(key)}"]`) : null;
  if (choice) choice.click();
});
document.addEventListener("click", (event) => {
  if (event.target.closest?.(".show-keys")) help.showModal();
});

// A link restores the place: the set, the step and the stated name.
let set = "";
function keepAddress() {
  const found = element.querySelector("[data-place]");
  if (!found) return;
  const place = JSON.parse(found.dataset.place);
  if (place.set !== set) typed.clear(); // classes of two sets may have one name
  set = place.set;
  const query = new URLSearchParams(Object.entries(place).filter(([, value]) => value));
  history.replaceState(null, "", `${location.pathname}?${query}`);
}
watch("value", () => {
  keepAddress();
  fillFields();
  if (focused) [...element.querySelectorAll("[data-key]")].find((field) => field.dataset.key === focused)?.focus();
});
keepAddress();
