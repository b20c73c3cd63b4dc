// The Curate page's editor in the browser: it draws what editor_queue.js knows, and sends what that wants sent.
// Runs once, as js_on_load of the editor; `element` is the editor. What is asked goes to app/curate/editor_routes.py.
const PATIENCE_MS = 30_000; // for an answer, before the same is sent again
const MOST_ABOVE = 0.15; // of the window that may lie above the editor when something is opened in it
const NO_ANSWER = "the app does not answer.";
const LONGEST_PAUSE_MS = 30_000; // between two tries of what could not be sent
const newId = () => [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const queue = editorQueue(newId);
const store = editorStore({ storage: localStorage, tab: sessionStorage, locks: navigator.locks, newId, now: Date.now });
let typing = null; // { field, ask } while a person changes a text: it is asked, with the text, once they are done
let prompt = null; // { ask, field, label, end } while a person writes the words of a box or of a further description
let session = { address: "", filters: null, person: "", dataset: "", edits: true, texts: [] };
let drafts = []; // { label, text, ask } of words that are to be open again
let opening = false; // whether somebody has just opened something: the page then scrolls to it
let drawn = ""; // the picture, as it was answered, or the state that the panel shows

const stage = element.querySelector(".stage");
const [offer, problem, conflicts, prompts, feedback, panel] = ["offer", "problem", "conflicts", "prompts", "feedback", "panel"].map((name) => stage.querySelector(`.${name}`));
const unsaved = stage.querySelector(".unsaved");
const shownPicture = () => drawn.image ?? 0;
const follow = () => document.querySelector("#advance input")?.checked ?? true;
const chosenRow = () => panel.querySelector(".text.chosen");
const openField = () => (panel.contains(document.activeElement) && document.activeElement.matches("input") ? document.activeElement : null);
const writing = () => Boolean(typing || prompt || drag || openField());

// ---------------------------------------------------------------- sending, one act and one question at a time
let pause = 0, resting = "", checkpoint = ""; // resting: why nothing is sent for a while; checkpoint: what scores an edit

async function post(what, ask) {
  const headers = { "content-type": "application/json" }, signal = AbortSignal.timeout(PATIENCE_MS);
  const response = await fetch(`/curate/${what}`, { method: "POST", headers, signal, body: JSON.stringify({ ...ask, person: session.person }) });
  if (response.ok) return response.json();
  const says = response.headers.get("content-type")?.startsWith("text/plain"); // else it is a proxy's page, or Gradio's
  throw new Error(response.status === 401 ? "sign in again." : says ? await response.text() : NO_ANSWER);
}

function send() {
  if (resting || !session.person) return;
  const { filters } = session, suggest = nextSuggestions(newId());
  if (suggest) post("suggestions", { ...suggest, filters, checkpoint }).then(suggestionsCame, () => suggestionsFailed(suggest.asked));
  const act = queue.nextAct(), view = queue.nextView();
  // what changes nothing is asked apart: a viewer may
  if (act) post("acts", { ...act, checkpoint }).then((answer) => ((counted = false), answered(answer)), (error) => failed(error, () => queue.actFailed(act.act)));
  if (view) post("views", { ...view, filters }).then(answered, (error) => failed(error, () => queue.viewFailed(view.asked)));
}

// Nothing came back: the same is sent again, after a pause. A refusal of the app's says why; else it does not answer.
function failed(error, again) {
  again();
  pause = Math.min(LONGEST_PAUSE_MS, 2 * pause || 1_000);
  resting = error.constructor === Error ? error.message : NO_ANSWER;
  setTimeout(() => ((resting = ""), update()), pause);
  update();
}

function answered(answer) {
  pause = 0;
  queue.answered(answer);
  fetchAhead([answer, ...(answer.more ?? [])].flatMap((each) => each.pictures ?? []));
  const refused = queue.refusal();
  if (refused) setText(problem, refused.sentence);
  if (refused?.ask?.text) drafts.push({ label: refused.sentence, text: refused.ask.text, ask: refused.ask, focus: false }); // the words are not lost
  update();
  awaitRest();
}
document.addEventListener("curate:scored-by", ({ detail }) => ((checkpoint = detail ?? ""), forgetSuggestions()));

// Do something that changes the data set, if this person may. doing: what the queue is asked to do; falsy: nothing was there.
function act(doing) {
  if (!session.edits) return say("Viewers look: a curator may change things.");
  if (many) return say("Many regions are being changed: that did nothing, one moment.");
  setText(problem, "");
  if (!doing()) say("Nothing is open yet: that did nothing.");
  else notice = "";
  update();
}

let notice = "", many = false; // whether an act on many regions is under way
function say(words) {
  notice = words;
  feedback.classList.remove("again");
  requestAnimationFrame(() => feedback.classList.add("again"));
  update();
}

// ---------------------------------------------------------------- drawing
// All that is on the screen, again. What a person is writing in or drawing on stays as it is until they are done.
function update() {
  if (!writing() && drafts.length) return nextDraft(); // draws
  queue.write(writing());
  const view = queue.view();
  if (!writing()) rebuild(view);
  if (view.at.state === "open" && view.picture?.image === shownPicture()) showOverlay(view);
  stage.dataset.unsaved = view.unsaved;
  stage.dataset.ahead = view.ahead;
  stage.dataset.open = view.at.state === "empty" ? "" : "1";
  if (opening && stage.dataset.open) toEditor();
  setText(feedback, notice || view.message);
  showConflicts(view.conflicts);
  stage.dataset.conflicts = view.conflicts.length;
  const sending = view.unsaved - view.conflicts.length; // a conflict waits for a person
  const waits = view.unsaved ? `${view.unsaved} not saved yet: ${resting} It is kept in this browser and sent again by itself.` : `Nothing new comes: ${resting}`;
  setText(unsaved, resting ? waits : sending > 1 ? `saving ${sending}` : "");
  const back = queue.manyBack();
  if (back) document.dispatchEvent(new CustomEvent("curate:back", { detail: back }));
  updateGallery(view.at);
  keep();
  send();
}

// Both versions of what somebody else was quicker with, until a person chooses: one after the other, or all at once.
function showConflicts(held) {
  const acts = held.map(({ act }) => act).join(" ");
  if (conflicts.dataset.acts === acts) return;
  conflicts.dataset.acts = acts;
  conflicts.innerHTML = held[0]?.panel ?? "";
  const all = conflicts.querySelector(".all-conflicts");
  if (held.length < 2) all?.remove();
  else all.querySelector("b").textContent = held.length;
}

function setText(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

function rebuild({ at, picture }) {
  const wanted = at.state === "open" ? picture : at.state;
  if (wanted === drawn) return;
  const before = shownPicture();
  drawn = wanted;
  const fresh = document.createElement("template");
  fresh.innerHTML = wanted.panel ?? stage.querySelector(`template[data-state="${wanted}"]`).innerHTML;
  if (before && before === wanted.image) keepParts(fresh.content);
  placeFetched(wanted.uri, fresh.content);
  panel.replaceChildren(fresh.content);
  windowView.open(shownPicture());
  queue.shown(shownPicture());
}

// What is folded out, of a panel that is drawn again.
function keepParts(fresh) {
  for (const open of panel.querySelectorAll("details[open]")) fresh.querySelector(`details.${open.classList[0]}`)?.setAttribute("open", "");
}

function showOverlay({ at, picture, overlay }) {
  panel.querySelector(".editor").dataset.chosen = at.region || "";
  for (const row of panel.querySelectorAll(".text")) {
    const id = Number(row.dataset.id), status = overlay.status.get(id), field = row.querySelector("input");
    row.hidden = status === "deleted";
    row.className = `text ${status}${id === at.region ? " chosen" : ""}`;
    row.dataset.status = status;
    for (const button of row.querySelectorAll("button[data-verdict]")) button.setAttribute("aria-pressed", String(button.dataset.verdict === status));
    if (field !== typing?.field && field !== openField()) field.value = overlay.text.get(id) ?? field.defaultValue;
  }
  for (const button of panel.querySelectorAll("[data-review]")) button.setAttribute("aria-pressed", String(button.dataset.review === overlay.review));
  showFields(overlay);
  showBoxes(at, picture, overlay);
}

function showFields({ caption, facts }) {
  for (const field of panel.querySelectorAll("[data-fact], .caption input")) {
    if (field === typing?.field || field === openField()) continue;
    field.value = (field.dataset.fact ? facts[field.dataset.fact] : caption) ?? "";
  }
}

function showBoxes(at, { regions }, overlay) {
  for (const group of panel.querySelectorAll(".region:not(.new)")) {
    const rows = regions.filter((each) => each.box === Number(group.dataset.box) && overlay.status.get(each.id) !== "deleted");
    const row = rows.find((each) => each.id === at.region) ?? rows[0];
    group.style.display = row ? "" : "none";
    group.classList.toggle("chosen", Boolean(row) && row.id === at.region);
    if (!row) continue;
    group.dataset.id = row.id;
    group.dataset.status = overlay.status.get(row.id);
    if (drag?.group !== group) show(group, overlay.box.get(row.id));
  }
  for (const group of panel.querySelectorAll(".region.new[data-act]")) if (!overlay.drawn.some(({ act }) => act === group.dataset.act)) group.remove();
  for (const { act, box } of overlay.drawn) {
    if (!svg() || panel.querySelector(`.region.new[data-act="${act}"]`)) continue;
    const group = newBox();
    group.dataset.act = act;
    show(group, box);
  }
  const group = chosenBox();
  if (group && group !== group.parentNode.lastElementChild) group.parentNode.append(group); // on top of those it overlaps
  showView();
}

function choose(id) {
  queue.choose(id);
  update();
}

// ---------------------------------------------------------------- writing
// Ask for words in a field; what was open before is asked with the words that it has. group: a box that is drawn, or none.
// focus: not where nobody waits for it, whose next key would be a letter.
function write(label, text, ask, { group = null, focus = true } = {}) {
  const earlier = prompt, form = document.createElement("form"), field = document.createElement("input");
  form.className = "prompt";
  const again = ["draw", "describe"].includes(ask.do) ? lastWords() : "";
  field.placeholder = again ? `${label} Enter: “${again}” again` : label;
  field.autocomplete = "off";
  field.value = text;
  field.setAttribute("aria-label", label);
  const ways = [["submit", "Save"], ["button", "Cancel"]].map(([type, textContent]) => Object.assign(document.createElement("button"), { type, textContent }));
  form.append(field, ...ways);
  prompts.append(form);
  const end = (save) => {
    if (prompt?.field === field) prompt = null, queue.drafts.delete("prompt");
    form.remove();
    group?.remove(); // the queue shows it from now on
    const words = field.value.trim() || (save === "entered" ? again : "");
    if (save && words && ask.do === "draw") lastBox = { image: ask.image, box: ask.box, text: words };
    if (save && words) noteWords(words), act(() => queue.add({ ...ask, text: words }));
    update();
  };
  prompt = { ask, field, label, end }; // before the earlier one ends: what waits would be opened else
  earlier?.end(true);
  queue.drafts.set("prompt", ask);
  if (focus) field.focus(), field.select();
  ways[1].addEventListener("click", () => end(false)); // a phone has no Esc
  form.addEventListener("submit", (event) => (event.preventDefault(), end("entered")));
  field.addEventListener("keydown", (event) => event.key === "Escape" && (event.stopPropagation(), end(false)));
  field.addEventListener("input", keep);
  update();
}

// What will be asked with the words of a field of the panel, of the version that is on the screen.
function askOf(field) {
  const image = shownPicture(), id = field.closest(".text")?.dataset.id;
  if (id) return { do: "text", image, id: Number(id), version: queue.versionOf(Number(id)) };
  return { do: field.dataset.fact ? "facts" : "caption", image, version: queue.versionOf(), fact: field.dataset.fact };
}

function withWords({ fact, ...ask }, text) {
  return fact ? { ...ask, facts: { [fact]: text } } : { ...ask, text }; // the other facts stay as they are in the database
}

panel.addEventListener("focusin", ({ target: field }) => field.matches("input") && (field.seen = field.value)); // before anybody types
panel.addEventListener("input", ({ target: field }) => {
  if (typing?.field !== field) {
    typing = { field, ask: askOf(field) };
    queue.drafts.set("typing", typing.ask);
  }
  update();
});

// A person is done by Enter, Tab or a press elsewhere.
function endTyping(save) {
  const { field, ask } = typing;
  typing = null;
  queue.drafts.delete("typing");
  if (!save) field.value = field.seen;
  else if (field.value !== field.seen) ask.do === "text" && noteWords(field.value), act(() => queue.add(withWords(ask, field.value)));
  update();
}
panel.addEventListener("keydown", (event) => {
  if (!event.target.matches("input") || !["Enter", "Tab", "Escape"].includes(event.key)) return;
  if (typing?.field === event.target) endTyping(event.key !== "Escape");
  if (event.key !== "Tab") event.target.blur();
});
document.addEventListener("pointerdown", (event) => {
  if (event.target.closest?.(".offered")) return;
  if (typing && event.target !== typing.field) endTyping(true);
  if (openField() && event.target !== openField()) openField().blur();
}, true);
panel.addEventListener("focusout", () => setTimeout(update));

// ---------------------------------------------------------------- what was left over is offered
const keep = () => {
  const open = [typing && { ask: typing.ask, text: typing.field.value, label: "The words that were written here" }, prompt && { ask: prompt.ask, text: prompt.field.value, label: prompt.label }];
  store.keep(queue.unsaved(), [...open, ...drafts].filter((each) => each?.text.trim()));
};

const WORDS = { verdict: "verdict", text: "change of words", box: "change of a box", draw: "new box", describe: "new description", delete: "deletion", caption: "caption", facts: "fact", review: "review", undo: "undo" };

async function offerLeft() {
  if (!session.person || !session.edits || offer.childElementCount) return;
  const asked = session, found = await store.left(session.person, session.dataset), acts = found.flatMap((each) => each.acts);
  const words = found.flatMap((each) => each.drafts ?? []);
  if (offer.childElementCount || asked.dataset !== session.dataset) return;
  if (!acts.length && !words.length) return found.forEach((each) => store.drop(each.key));
  const kinds = [...new Set(acts.map((each) => each.do))].map((what) => [what, acts.filter((each) => each.do === what).length]);
  const leftOver = [...kinds.map(([what, count]) => `${count} × ${WORDS[what] ?? what}`), ...words.map((each) => `“${each.text}”`)];
  const box = document.createElement("div");
  box.className = "left-over";
  box.setAttribute("role", "alert");
  const text = document.createElement("p");
  text.textContent = `Not saved when this page was left: ${leftOver.join(", ")}.`;
  const end = (send) => () => {
    if (send) queue.restore(acts);
    if (send) drafts.push(...words);
    offer.replaceChildren();
    update(); // keeps what is sent from now on, before the old is forgotten
    found.forEach((each) => store.drop(each.key));
  };
  box.append(text, ...[["send them", true], ["drop them", false]].map(([name, send]) => Object.assign(document.createElement("button"), { type: "button", textContent: name, onclick: end(send) })));
  offer.append(box);
}

// Words that nobody had finished, or that were refused, are open again once nobody is writing; Enter saves them.
function nextDraft() {
  const { label, text, ask, focus } = drafts.shift();
  write(label, text, ask, { focus });
}
setInterval(() => (keep(), offerLeft()), BEAT_MS);

// ---------------------------------------------------------------- presses
panel.addEventListener("click", (event) => {
  const button = event.target.closest("button"), row = event.target.closest(".text"), id = Number(row?.dataset.id);
  if (row && !button) return choose(id);
  if (!button) return;
  const { verdict, review, delete: deleted, describe, press } = button.dataset;
  if (press === "next") queue.next(), update();
  else if (press) act(() => ACTS[press](event));
  const pressed = button.getAttribute("aria-pressed") === "true";
  if (verdict === "accepted" && !pressed) noteBox(id);
  if (verdict) act(() => queue.judge(pressed ? "pending" : verdict, { region: id, follow: follow() }));
  if (review) act(() => queue.review(review, { follow: follow() }));
  if (deleted) act(() => queue.remove(id || Number(button.dataset.region), deleted === "box"));
  if (describe) write("What else is in this box?", "", { do: "describe", image: shownPicture(), region: Number(describe) });
});
conflicts.addEventListener("click", (event) => {
  const choice = event.target.closest("[data-choose]");
  if (!choice) return;
  const held = conflicts.dataset.acts.split(" ");
  for (const each of choice.closest(".all-conflicts") ? held : held.slice(0, 1)) queue.resolve(each, choice.dataset.choose === "mine");
  update();
});

document.addEventListener("click", (event) => {
  if (event.target.closest?.(".show-keys")) help.showModal();
  const tile = event.target.closest?.("#regions [data-ask]");
  if (tile) open(JSON.parse(tile.dataset.ask));
  if (event.target.closest?.("#review")) prompt?.end(true), queue.first(), (opening = true), update();
  if (event.target.closest?.("#close-editor")) closeEditor();
});

// Open a region, { id }, or a picture, { image }.
function open(what) {
  setText(problem, "");
  queue.open(what);
  opening = true;
  update();
}
document.addEventListener("curate:open", ({ detail }) => open(detail));

// What somebody opened is to be seen whole, also on a phone, where the editor lies above the gallery.
function toEditor() {
  const work = element.closest(".work"), { top } = work.getBoundingClientRect();
  if (top < 0 || top > innerHeight * MOST_ABOVE) work.scrollIntoView({ block: "start" });
  opening = false;
  keepEntry("open");
}

// Back to the gallery: what was being written is asked, then nothing is on the screen that a key could mean.
function closeEditor() {
  prompt?.end(true);
  if (typing) endTyping(true);
  queue.close();
  if (editorEntry()) keepEntry("closed");
  setText(problem, "");
  update();
}

// ---------------------------------------------------------------- keys
const KEYS = [
  ["A", "accept the chosen description"],
  ["R", "reject it"],
  ["N", "the picture is reviewed, nothing to mark"],
  ["D", "the picture is reviewed"],
  ["Z, Shift Z", "undo what you did last, also on a picture before; redo it"],
  ["→ / J", "the next region to review"],
  ["Tab", "choose the next region of this picture"],
  ["E", "change its words"],
  ["Delete", "delete its box"],
  ["drag", "draw a box; with Shift also inside another one"],
  ["Shift arrows", "move the box by a pixel; with Ctrl too: its right and lower side"],
  ["Ctrl C, Ctrl V", "copy the box with its words; paste it, also into another picture"],
  ["W", "give it the words that you wrote last"],
  ["wheel, pinch", "zoom; middle button or Space and drag: move the picture"],
  ["F", "fit the picture to the chosen box"],
  ["0", "see the whole picture"],
  ["H", "other boxes: shown, dimmed, hidden"],
  ["C", "colours: by description or by verdict"],
  ["S", "boxes that the model suggests: a press takes the one under the pointer"],
  ["T", "take the likeliest suggestion that has words"],
  ["Esc", "back to the gallery"],
  ["?", "this list"],
];
const help = keysDialog(KEYS);
const FIELDS = "input:not([type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable=true], [role=listbox]";

function chooseBy(step) {
  const ids = [...panel.querySelectorAll(".text:not([hidden])")].map((row) => Number(row.dataset.id));
  if (ids.length) choose(ids[(ids.indexOf(queue.view().at.region) + step + ids.length) % ids.length]);
}

const ACTS = {
  a: () => (noteBox(queue.view().at.region), queue.judge("accepted", { follow: follow() })),
  r: () => queue.judge("rejected", { follow: follow() }),
  n: () => queue.review("empty", { follow: follow() }),
  d: () => queue.review("reviewed", { follow: follow() }),
  z: (event) => (event.shiftKey ? queue.redo() : queue.undo()),
  delete: () => queue.remove(queue.view().at.region, true),
  w: () => {
    const { at } = queue.view();
    if (at.state !== "open" || !at.region || !lastWords()) return 0;
    return queue.add({ do: "text", image: at.image, id: at.region, version: queue.versionOf(at.region), text: lastWords() });
  },
};
ACTS.backspace = ACTS.delete;

const ARROWS = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] };
let copied = null; // a box and its words
const MOVED = 0.02; // of the picture, by which a box is moved that is pasted onto itself

function copyBox() {
  if (chosenBox() && chosenRow()) copied = { box: boxOf(chosenBox()), text: chosenRow().querySelector("input").value };
  if (copied) say(`Copied: ${copied.text}`);
}

function pasteBox() {
  const { at } = queue.view();
  if (at.state !== "open" || !copied) return 0;
  const there = [...panel.querySelectorAll(".region")].some((group) => boxOf(group).every((side, index) => Math.abs(side - copied.box[index]) < 1e-6));
  const [dx, dy] = there ? [Math.min(MOVED, 1 - copied.box[2]), Math.min(MOVED, 1 - copied.box[3])] : [0, 0];
  copied = { ...copied, box: copied.box.map((side, index) => side + (index % 2 ? dy : dx)) };
  return queue.add({ do: "draw", image: at.image, box: copied.box, text: copied.text });
}

const MOVED_BY_ARROWS = "[type=range], [type=radio], [role=slider], [role=tab]";
document.addEventListener("keydown", (event) => {
  if (event.key.startsWith("Arrow") && event.target.closest?.(MOVED_BY_ARROWS)) return;
  const arrow = ARROWS[event.key.toLowerCase()], busy = help.open || typing || prompt || (drag && drag.kind !== "nudge");
  if (event.shiftKey && arrow && !busy && !event.target.closest?.(FIELDS) && chosenBox()) return event.preventDefault(), nudge(arrow, event.ctrlKey);
  if ((event.ctrlKey || event.metaKey) && !busy && !drag && !event.target.closest?.(FIELDS) && getSelection().isCollapsed) {
    if (event.key.toLowerCase() === "c") return copyBox();
    if (event.key.toLowerCase() === "v" && copied) return event.preventDefault(), act(pasteBox);
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.(FIELDS)) return;
  const key = event.key.toLowerCase();
  if (key === "?") return help.open ? help.close() : help.showModal();
  if (help.open || typing || prompt || drag || event.repeat) return;
  if (key === "arrowright" || key === "j") queue.next(), update();
  else if (ACTS[key]) act(() => ACTS[key](event));
  else if (VIEWS[key]) look(key);
  else if (key === "t") takeSuggestion();
  else if (key === "escape" && queue.view().at.state !== "empty") closeEditor();
  else if (key === "tab" && panel.querySelector(".text") && !event.target.closest?.("button, a")) event.preventDefault(), chooseBy(event.shiftKey ? -1 : 1);
  else if (key === "e" && chosenRow()) event.preventDefault(), chosenRow().querySelector("input").focus();
});

// ---------------------------------------------------------------- the gallery follows what was decided here
const SIGNS = { accepted: "✓", rejected: "✗", pending: "○" };
function updateGallery({ region }) {
  const known = queue.statuses();
  for (const tile of document.querySelectorAll("#regions .tile")) {
    const now = known.get(Number(tile.dataset.id));
    tile.toggleAttribute("aria-current", Number(tile.dataset.id) === region);
    if (!now) continue;
    tile.querySelector(".sign").className = `sign ${now.status}`;
    setText(tile.querySelector(".sign"), `${SIGNS[now.status] ?? "–"} ${now.status}`);
    if (now.text !== undefined) setText(tile.querySelector(".says"), now.text);
  }
}

// ---------------------------------------------------------------- acts on many regions, which gallery.js asks for
document.addEventListener("curate:many-begins", () => (many = true));
document.addEventListener("curate:many-done", ({ detail }) => queue.noteMany(detail));
document.addEventListener("curate:many-ends", () => ((many = false), (counted = false), queue.forget(), update(), awaitRest()));
document.addEventListener("curate:undo-many", ({ detail }) => act(() => queue.undoMany(detail)));

// ---------------------------------------------------------------- a link restores what one sees
let filters = linkedQuery();
openLinked(filters, queue.open);
["region", "image"].forEach((name) => filters.delete(name));

document.addEventListener("curate:session", ({ detail }) => {
  // of what was asked before the first one, nothing is sent yet
  if (session.person && JSON.stringify(session.filters) !== JSON.stringify(detail.filters)) queue.filter();
  counted = false;
  const moved = session.dataset !== detail.dataset;
  session = detail;
  filters = new URLSearchParams(detail.address);
  if (moved) offer.replaceChildren();
  offerLeft();
  update();
  awaitRest();
});

update();
