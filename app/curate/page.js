// The Curate page's editor in the browser: drawing, moving and resizing boxes, verdicts, keys. Python draws, this asks.
// Runs once, as js_on_load of the editor; `element` is the editor, `trigger` sends what is asked to Python.
const SIDES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
const LEAST = 0.004; // of a side: a smaller drag is a click
let drag = null; // { kind, image, group, from, box, now, side }
let typing = null; // { field, wanted } while a person changes a text: wanted is asked, with the text, once they are done
let prompt = null; // { wanted, group, end } while a person writes the words of a box or of a further description
let mine = null; // what was asked when somebody else was quicker

const clamp = (value) => Math.min(1, Math.max(0, value));
const editor = () => element.querySelector(".editor");
const svg = () => element.querySelector("svg");
const chosen = () => element.querySelector(".region.chosen");

// ---------------------------------------------------------------- one question at a time
// What is done while an answer is awaited waits its turn, and is then asked of the version that the answer brought.
const waiting = [];
let asked = null; // { wanted, versions } whose answer is awaited
let held = false; // somebody else was quicker: what waits would take the choice away, so it waits for what is done next

function ask(wanted) {
  held ? waiting.unshift(wanted) : waiting.push(wanted);
  held = false;
  send();
}

const view = (what, more = {}) => ask({ do: what, view: true, ...more });

function send() {
  if (asked || held || !waiting.length) return;
  const wanted = waiting.shift();
  asked = { wanted, versions: versions() };
  if (!wanted.view) mine = wanted;
  // what changes nothing is an event of its own: a viewer may send it
  trigger(wanted.view ? "select" : "click", { ask: wanted });
}

// of the picture and of each description, as they are shown
function versions() {
  const found = new Map([["picture", Number(editor()?.dataset.version)]]);
  for (const text of element.querySelectorAll(".text")) found.set(Number(text.dataset.id), Number(text.dataset.version));
  return found;
}

document.addEventListener("curate:answered", () => {
  if (!asked) return;
  const { wanted, versions: before } = asked, now = versions();
  asked = null;
  held = element.querySelector(".conflict") !== null;
  for (const other of [...waiting, ...[typing?.wanted, prompt?.wanted].filter(Boolean)]) {
    const key = other.id ?? "picture", next = other.version + 1;
    const ours = now.has(key) ? now.get(key) === next : other.id === wanted.id; // an edit makes its version one more
    if (other.version === before.get(key) && ours) other.version = next;
  }
  send();
});

function place(event) {
  const frame = svg().getBoundingClientRect();
  return [clamp((event.clientX - frame.left) / frame.width), clamp((event.clientY - frame.top) / frame.height)];
}

function boxOf(group) {
  const rect = group.querySelector("rect.line");
  const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => Number(rect.getAttribute(name)));
  return [x, y, x + width, y + height];
}

function show(group, [x0, y0, x1, y1]) {
  for (const rect of group.querySelectorAll("rect")) {
    for (const [name, value] of Object.entries({ x: x0, y: y0, width: x1 - x0, height: y1 - y0 })) rect.setAttribute(name, value);
  }
  placeHandles();
}

// ---------------------------------------------------------------- handles of the chosen box
function placeHandles() {
  element.querySelectorAll(".handle").forEach((handle) => handle.remove());
  const group = chosen();
  if (!group) return;
  const [x0, y0, x1, y1] = boxOf(group);
  for (const side of SIDES) {
    const handle = document.createElement("span");
    handle.className = `handle ${side}`;
    handle.dataset.side = side;
    const x = side.includes("w") ? x0 : side.includes("e") ? x1 : (x0 + x1) / 2;
    const y = side.includes("n") ? y0 : side.includes("s") ? y1 : (y0 + y1) / 2;
    handle.style.left = `${100 * x}%`;
    handle.style.top = `${100 * y}%`;
    element.querySelector(".frame").append(handle);
  }
}

function choose(id) {
  for (const mark of element.querySelectorAll(".region, .text")) mark.classList.toggle("chosen", mark.dataset.id === String(id));
  const group = chosen();
  if (group) group.parentNode.append(group); // on top of those it overlaps
  if (editor()) editor().dataset.chosen = id;
  placeHandles();
  keepAddress();
}

// ---------------------------------------------------------------- dragging
element.addEventListener("pointerdown", (event) => {
  const handle = event.target.closest(".handle");
  if (!handle && !event.target.closest("svg")) return;
  event.preventDefault();
  const from = place(event);
  if (handle) {
    const group = chosen();
    drag = { kind: "size", image: image(), group, from, box: boxOf(group), side: handle.dataset.side };
  } else if (event.target.closest(".region") && !event.shiftKey) {
    const group = event.target.closest(".region");
    choose(group.dataset.id);
    drag = { kind: "move", image: image(), group, from, box: boxOf(group) };
  } else {
    const group = document.createElementNS("http://www.w3.org/2000/svg", "g");
    group.setAttribute("class", "region new");
    for (const name of ["casing", "line"]) {
      const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      rect.setAttribute("class", name);
      group.append(rect);
    }
    svg().append(group);
    drag = { kind: "draw", image: image(), group, from, box: [...from, ...from] };
  }
  element.setPointerCapture(event.pointerId);
});

function dragged(event) {
  const [x, y] = place(event), [x0, y0] = drag.from, box = [...drag.box];
  if (drag.kind === "draw") return [Math.min(x, x0), Math.min(y, y0), Math.max(x, x0), Math.max(y, y0)];
  if (drag.kind === "move") {
    const dx = Math.min(Math.max(x - x0, -box[0]), 1 - box[2]), dy = Math.min(Math.max(y - y0, -box[1]), 1 - box[3]);
    return [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy];
  }
  if (drag.side.includes("w")) box[0] = Math.min(x, box[2] - LEAST);
  if (drag.side.includes("e")) box[2] = Math.max(x, box[0] + LEAST);
  if (drag.side.includes("n")) box[1] = Math.min(y, box[3] - LEAST);
  if (drag.side.includes("s")) box[3] = Math.max(y, box[1] + LEAST);
  return box;
}

element.addEventListener("pointermove", (event) => {
  if (!drag) return;
  drag.now = dragged(event);
  show(drag.group, drag.now);
});

element.addEventListener("pointerup", () => {
  if (!drag) return;
  const { kind, group, box, now, image } = drag;
  drag = null;
  if (kind === "draw") {
    if (!now || now[2] - now[0] < LEAST || now[3] - now[1] < LEAST) return group.remove();
    return write("What is in the box?", "", { do: "draw", image, box: now, key: crypto.randomUUID() }, group);
  }
  if (!now || now.every((value, index) => Math.abs(value - box[index]) < 1e-6)) return;
  ask({ do: "box", id: Number(group.dataset.id), version: Number(group.dataset.version), box: now });
});
element.addEventListener("pointercancel", () => {
  if (!drag) return;
  drag.kind === "draw" ? drag.group.remove() : show(drag.group, drag.box);
  drag = null;
});

const image = () => Number(editor()?.dataset.image);

// ---------------------------------------------------------------- writing
// An answer redraws the editor at any time. What a person writes belongs to what was on the screen when they began.
const prompts = document.createElement("div"); // beside the editor: no answer redraws it
prompts.className = "prompts";
element.before(prompts);

// Ask for words in a field; what was open before is asked with the words that it has. group: a box that is drawn, or none.
function write(label, text, wanted, group = null) {
  prompt?.end(true);
  const form = document.createElement("form");
  form.className = "prompt";
  const field = document.createElement("input");
  field.placeholder = label;
  field.value = text;
  field.setAttribute("aria-label", label);
  form.append(field);
  prompts.append(form);
  field.focus();
  const end = (say) => {
    const { wanted } = prompt;
    prompt = null;
    form.remove();
    say && field.value.trim() ? ask({ ...wanted, text: field.value }) : group?.remove();
  };
  prompt = { wanted, group, end };
  form.addEventListener("submit", (event) => (event.preventDefault(), end(true)));
  field.addEventListener("keydown", (event) => event.key === "Escape" && (event.stopPropagation(), end(false)));
}

function wantedOf(field) {
  if (field.dataset.edit) return JSON.parse(field.dataset.edit);
  const facts = Object.fromEntries([...element.querySelectorAll("[data-fact]")].map((each) => [each.dataset.fact, each.value]));
  return { do: "facts", image: image(), version: Number(editor().dataset.version), facts, fact: field.dataset.fact };
}

const written = ({ fact, ...wanted }, text) => (fact ? { ...wanted, facts: { ...wanted.facts, [fact]: text } } : { ...wanted, text });

element.addEventListener("input", (event) => {
  const field = event.target;
  if (typing?.field === field || !(field.dataset.edit || field.dataset.fact)) return;
  typing = { field, wanted: wantedOf(field) };
});

// A person is done by Enter, Tab or a press elsewhere. A browser also says "change" of a field that an answer takes away.
function done() {
  const { field, wanted } = typing;
  typing = null;
  if (field.value !== field.defaultValue) ask(written(wanted, field.value));
}
element.addEventListener("keydown", (event) => {
  if (typing?.field !== event.target) return;
  if (event.key === "Escape") (typing.field.value = typing.field.defaultValue), (typing = null);
  if (event.key === "Enter" || event.key === "Tab") done();
});
document.addEventListener("pointerdown", (event) => typing && event.target !== typing.field && done(), true);

// The same field of the new drawing, if what it belongs to is still there.
function fieldOf({ do: what, id, fact }, same) {
  if (fact) return same && element.querySelector(`[data-fact="${CSS.escape(fact)}"]`);
  return [...element.querySelectorAll("[data-edit]")].find((each) => {
    const edit = JSON.parse(each.dataset.edit);
    return edit.do === what && (what === "caption" ? same : edit.id === id);
  });
}

function keepTyping() {
  const { field: old, wanted } = typing, found = fieldOf(wanted, wanted.image === undefined || wanted.image === image());
  if (!found) {
    typing = null;
    return wanted.fact ? ask(written(wanted, old.value)) : write("The words of what was here before", old.value, wanted);
  }
  const unchanged = found.defaultValue === old.defaultValue; // else somebody changed it: their version must not be overwritten
  typing = { field: found, wanted: unchanged ? wantedOf(found) : wanted };
  const { selectionStart, selectionEnd, value } = old;
  found.value = value;
  found.focus();
  found.setSelectionRange(selectionStart, selectionEnd);
}

function keepDrag() {
  if (drag.image !== image()) return (drag = null);
  if (drag.kind === "draw") return svg()?.append(drag.group);
  drag.group = element.querySelector(`.region[data-id="${drag.group.dataset.id}"]`);
  drag.group ? show(drag.group, drag.now ?? drag.box) : (drag = null);
}

new MutationObserver(() => {
  if (typing && !typing.field.isConnected) keepTyping();
  if (drag && !drag.group.isConnected) keepDrag();
  if (prompt?.group && !prompt.group.isConnected && prompt.wanted.image === image()) svg()?.append(prompt.group);
}).observe(element, { childList: true, subtree: true });

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-ask], [data-prompt]");
  const text = event.target.closest(".text");
  if (text && !button) choose(text.dataset.id);
  if (!button) return;
  if (button.dataset.prompt) return write("What else is in this box?", "", { ...JSON.parse(button.dataset.prompt), key: crypto.randomUUID() });
  const wanted = JSON.parse(button.dataset.ask);
  if (wanted.do === "mine") return ask({ ...mine, version: wanted.version });
  if (wanted.do === "theirs") return view("show");
  ask(wanted);
});

// ---------------------------------------------------------------- keys
const KEYS = [
  ["A", "accept the chosen description"],
  ["R", "reject it"],
  ["N", "the picture is reviewed, nothing to mark"],
  ["D", "the picture is reviewed"],
  ["Z", "undo"],
  ["→ / J", "the next region to review"],
  ["Tab", "choose the next region of this picture"],
  ["E", "change its words"],
  ["Delete", "delete its box"],
  ["drag", "draw a box; with Shift also inside another one"],
  ["?", "this list"],
];
const help = keysDialog(KEYS);

function verdict(status) {
  const row = element.querySelector(".text.chosen");
  if (row) ask({ do: "verdict", id: Number(row.dataset.id), version: Number(row.dataset.version), status });
}

function review(state) {
  if (editor()) ask({ do: "review", review: state, image: image(), version: Number(editor().dataset.version) });
}

function other(by) {
  const texts = [...element.querySelectorAll(".text")];
  if (!texts.length) return;
  const at = texts.findIndex((text) => text.classList.contains("chosen"));
  choose(texts[(at + by + texts.length) % texts.length].dataset.id);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, [role=listbox]")) return;
  const key = event.key.toLowerCase();
  if (key === "?") return help.open ? help.close() : help.showModal();
  if ((key === "arrowright" || key === "j") && !typing && !prompt) return view("next");
  if (!editor() || help.open || typing || prompt) return;
  const row = element.querySelector(".text.chosen");
  if (key === "a") verdict("accepted");
  else if (key === "r") verdict("rejected");
  else if (key === "n") review("empty");
  else if (key === "d") review("reviewed");
  else if (key === "z") ask({ do: "undo", image: image() });
  else if (key === "tab" && !event.target.closest?.("button, a")) event.preventDefault(), other(event.shiftKey ? -1 : 1);
  else if (key === "e" && row) event.preventDefault(), row.querySelector("input").focus();
  else if ((key === "delete" || key === "backspace") && row) ask({ do: "delete", id: Number(row.dataset.id), version: Number(row.dataset.version), whole: true });
});
document.addEventListener("click", (event) => {
  if (event.target.closest?.(".show-keys")) help.showModal();
  const tile = event.target.closest?.("#regions [data-ask]");
  if (tile) view("open", JSON.parse(tile.dataset.ask));
  if (event.target.closest?.("#review")) view("first");
});

// ---------------------------------------------------------------- the gallery follows what was decided here
const SIGNS = { accepted: "✓", rejected: "✗", pending: "○" };
function tellGallery() {
  for (const text of element.querySelectorAll(".text")) {
    const tile = document.querySelector(`#regions .tile[data-id="${text.dataset.id}"]`);
    if (!tile) continue;
    const { status } = text.dataset, sign = tile.querySelector(".sign");
    sign.className = `sign ${status}`;
    sign.textContent = `${SIGNS[status] ?? "–"} ${status}`;
    tile.querySelector(".says").textContent = text.querySelector("input").value;
  }
  const id = editor()?.dataset.chosen;
  for (const tile of document.querySelectorAll("#regions .tile")) tile.toggleAttribute("aria-current", tile.dataset.id === id);
}

// ---------------------------------------------------------------- a link restores what one sees
let filters = new URLSearchParams(location.search);
["region", "image"].forEach((name) => filters.delete(name));

function keepAddress() {
  const query = new URLSearchParams(filters), shown = editor()?.dataset;
  if (shown) query.set(shown.chosen ? "region" : "image", shown.chosen || shown.image);
  history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}`);
}
document.addEventListener("curate:filtered", (event) => {
  filters = new URLSearchParams(event.detail);
  keepAddress();
});

watch("value", () => {
  placeHandles();
  tellGallery();
  keepAddress();
});
placeHandles();
