// What people type into fields of the class keeps-draft, kept in the browser: after a reload, a crash of the tab, or a
// restart of the app or the machine it is offered again. The tab's own comes first, then what was typed last.
const FIELDS = ".keeps-draft textarea", stores = [sessionStorage, localStorage], offered = new Set(), keys = new Map();

function keyOf(area) {
  const field = area.closest(".keeps-draft"), query = new URLSearchParams(location.search);
  const chosen = query.get("set") ?? query.get("dataset") ?? ""; // a page of sets names its own
  return ["grain.draft", location.pathname, field.id, field.matches(".of-dataset") ? chosen : ""].join(" ");
}
function onStores(act) {
  for (const store of stores) {
    try {
      const found = act(store);
      if (found) return found;
    } catch {
      continue; // full, or forbidden: the page works without
    }
  }
  return "";
}
function keep({ target }) {
  if (!target.matches?.(FIELDS)) return;
  const key = keyOf(target);
  offered.add(key); // what is typed now is no draft of before
  onStores((store) => void (target.value.trim() ? store.setItem(key, target.value) : store.removeItem(key)));
}
function offerDrafts() {
  for (const area of document.querySelectorAll(FIELDS)) {
    const key = keyOf(area), text = onStores((store) => store.getItem(key));
    const field = area.closest(".keeps-draft"), before = keys.get(field.id);
    if (before !== key) { // another data set was chosen: what is typed for the one before is one of its drafts again
      keys.set(field.id, key);
      offered.delete(before);
      field.querySelector(".draft")?.remove();
    }
    if (offered.has(key) || !text || text === area.value) continue;
    offered.add(key);
    offerDraft(area, text, key);
  }
}
function offerDraft(area, text, key) {
  const note = document.createElement("p"), start = text.trim().split("\n")[0];
  note.className = "draft";
  note.append(`Typed here before: “${start.length > 60 ? start.slice(0, 60) + "…" : start}” `);
  for (const [words, act] of [
    ["Put it back", () => { area.value = text; area.dispatchEvent(new Event("input", { bubbles: true })); }],
    ["Forget it", () => onStores((store) => void store.removeItem(key))],
  ]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = words;
    button.addEventListener("click", () => (act(), note.remove()));
    note.append(button, " ");
  }
  area.closest(".keeps-draft").append(note);
}
document.addEventListener("input", keep);
new MutationObserver(offerDrafts).observe(document.body, { childList: true, subtree: true });
offerDrafts();
