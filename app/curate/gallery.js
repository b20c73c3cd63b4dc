// The gallery of the Curate page in the browser: selecting, acts on all that are selected, the size of its pictures.
// Runs once, as js_on_load of the bar above it; `element` is the bar, `trigger` sends what is asked to Python.
const picks = pickedRegions();
const SIZE = "grain.curate.tile";
const newName = () => [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const bar = element.querySelector(".bulk"), form = bar.querySelector(".bulk-text"), answerArea = bar.querySelector(".bulk-answer");
const regions = () => document.querySelector("#regions");
const tiles = () => [...document.querySelectorAll("#regions .tile")];
const onPage = () => tiles().map((tile) => [Number(tile.dataset.id), Number(tile.dataset.image)]);
let wanted = null; // the act that was asked about, with what the answer holds on it
let asked = "", out = false; // the question whose answer is awaited; whether it changes regions
let address = null; // of the filters: with others nothing is selected

function showPicks() {
  const words = picks.words(), count = picks.any() ? "1" : "0";
  if (bar.dataset.count !== count) bar.dataset.count = count;
  if (bar.querySelector(".bulk-count").textContent !== words) bar.querySelector(".bulk-count").textContent = words;
  regions()?.classList.toggle("picking", picks.any());
  for (const tile of tiles()) tile.setAttribute("aria-pressed", String(picks.has(Number(tile.dataset.id))));
}

// Nothing on many is sent before all that was done one by one is saved: it would meet its own versions. held: what to do
// where that waits for a person, who has to choose between two versions first.
function whenSaved(then, held) {
  const stage = document.querySelector("#editor .stage"), is = (name) => (stage?.dataset[name] ?? "0") !== "0";
  if (is("conflicts")) return held();
  if (!is("unsaved")) return then();
  const waiting = new MutationObserver(() => {
    if (is("unsaved") && !is("conflicts")) return;
    waiting.disconnect();
    whenSaved(then, held);
  });
  waiting.observe(stage, { attributes: true, attributeFilter: ["data-unsaved", "data-conflicts"] });
}
const HELD = "Somebody else was quicker with a region: choose a version in the editor first.";
document.addEventListener("curate:when-saved", ({ detail: then }) => whenSaved(then, () => (answerArea.textContent = HELD)));

function send(what, ask) {
  if (asked) return;
  asked = newName();
  out = what === "click";
  if (out) document.dispatchEvent(new Event("curate:many-begins"));
  bar.classList.add("waits");
  const mine = asked;
  whenSaved(() => {
    if (mine !== asked) return;
    trigger(what, { ask: { ...ask, asked: mine } });
    setTimeout(unheard, MANY_PATIENCE_MS, mine);
  }, () => {
    if (mine !== asked) return;
    ended();
    answerArea.textContent = HELD;
  });
}

const MANY_PATIENCE_MS = 60_000;
function unheard(mine) {
  if (mine !== asked) return;
  ended();
  answerArea.textContent = "The app does not answer. Whether it was done stands under “Latest acts on many”.";
}

function ended() {
  if (out) document.dispatchEvent(new Event("curate:many-ends"));
  asked = "";
  bar.classList.remove("waits");
}

watch("value", () => {
  const answer = props.value;
  if (!answer || answer.asked !== asked) return;
  ended();
  if (answer.refused) return refused(answer.refused);
  if (answer.message) answerArea.textContent = answer.message;
  if (answer.panel) answerArea.innerHTML = answer.panel; // rendered and escaped by the app
  if (answer.seen && wanted) wanted.seen = answer.seen;
  if (answer.did) picks.clear(), showPicks(), document.dispatchEvent(new CustomEvent("curate:many-done", { detail: answer.did }));
  answerArea.querySelector("[data-do]")?.focus();
});

// What was typed stays, to be corrected.
function refused(words) {
  answerArea.textContent = words;
  if (!wanted?.text) return;
  form.hidden = false;
  form.querySelector("input").focus();
}
document.addEventListener("curate:bulk-ended", () => asked && setTimeout((mine) => mine === asked && ended(), 1_000, asked));

function forget() {
  wanted = null;
  form.hidden = true;
  answerArea.replaceChildren();
}

function count(kind, text = "") {
  wanted = { kind, text, ids: picks.ids() };
  form.hidden = true;
  send("select", wanted);
}

bar.addEventListener("click", (event) => {
  const { pick, kind, text, do: does, count: counts, undo, cancel } = event.target.closest("button")?.dataset ?? {};
  if (pick === "page") picks.pickAll(onPage());
  if (pick === "all") picks.pickFilter();
  if (pick === "none") picks.clear();
  if (pick || cancel) forget(), showPicks();
  if (kind && !text) forget(), count(kind);
  if (kind && text) {
    forget();
    const field = form.querySelector("input");
    Object.assign(form, { hidden: false, kind });
    Object.assign(field, { value: "", placeholder: text });
    field.setAttribute("aria-label", text);
    field.focus();
  }
  if (counts) countWritten();
  if (does && wanted) send("click", { ...wanted, do: "act", act: newName() });
  if (undo) document.dispatchEvent(new CustomEvent("curate:undo-many", { detail: undo }));
});
const countWritten = () => count(form.kind, form.querySelector("input").value);
bar.addEventListener("keydown", (event) => {
  if (event.key === "Escape") event.stopPropagation(), forget();
  if (event.key === "Enter" && event.target.matches(".bulk-text input")) countWritten();
});

// A press on a tile's corner selects it, as a press with Ctrl or Shift anywhere on it does; another opens it.
document.addEventListener("click", (event) => {
  const tile = event.target.closest?.("#regions .tile");
  if (!tile || !(event.target.closest(".pick") || event.shiftKey || event.ctrlKey || event.metaKey)) return;
  event.stopPropagation();
  event.preventDefault();
  picks.pick(Number(tile.dataset.id), onPage(), { range: event.shiftKey });
  forget();
  showPicks();
}, true);
document.addEventListener("mousedown", (event) => event.shiftKey && event.target.closest?.("#regions .tile") && event.preventDefault()); // no text is marked

document.addEventListener("curate:back", ({ detail: { action, back } }) => send("click", { do: back, action }));
document.addEventListener("curate:session", ({ detail }) => {
  if (address !== null && address !== detail.address) picks.clear(), forget();
  address = detail.address;
  showPicks();
});
new MutationObserver(showPicks).observe(document.body, { childList: true, subtree: true });

// ---------------------------------------------------------------- how large the pictures are
const size = bar.querySelector(".tile-size input");
function showSize() {
  document.documentElement.style.setProperty("--tile", `${size.value}px`);
}
size.value = localStorage.getItem(SIZE) ?? size.value;
size.addEventListener("input", () => (localStorage.setItem(SIZE, size.value), showSize()));
showSize();
showPicks();
