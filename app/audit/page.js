// The Audit page's claim in the browser: verdicts by key, rewriting a description. Python renders it.
// Runs once, as js_on_load of the claim; `element` is the claim, `trigger` sends what is asked to Python.
const claim = () => element.querySelector(".audited");

// A click goes elsewhere, a submit changes something. Both are about the claim that is on the screen now.
const send = oneAtATime(element, (wanted) => {
  const { id, sample } = claim().dataset;
  trigger(["open", "next"].includes(wanted.do) ? "click" : "submit", { ask: { id: Number(id), sample, ...wanted } });
});

function rewrite() {
  element.querySelector(".prompt")?.remove();
  const form = document.createElement("form");
  form.className = "prompt";
  const field = document.createElement("input");
  field.value = claim().dataset.text;
  field.setAttribute("aria-label", "The description in other words");
  form.append(field);
  element.querySelector("blockquote").after(form);
  field.focus();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    // somebody may have changed it since
    send({ do: "fix", text: field.value, seen: JSON.parse(claim().dataset.seen) });
  });
  field.addEventListener("keydown", (event) => event.key === "Escape" && (event.stopPropagation(), form.remove()));
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-ask]");
  if (button) send(JSON.parse(button.dataset.ask));
});

const KEYS = [
  ["S", "the picture supports it"],
  ["U", "it does not"],
  ["C", "cannot tell"],
  ["A", "agree with the auditor"],
  ["E", "rewrite the description"],
  ["Z", "take my verdict back"],
  ["→ / J", "the next claim"],
  ["?", "this list"],
];
const help = keysDialog(KEYS);
const VERDICTS = { s: "supported", u: "unsupported", c: "cannot tell" };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, [role=listbox]")) return;
  const key = event.key.toLowerCase();
  if (key === "?") return help.open ? help.close() : help.showModal();
  if (help.open || !claim() || element.hasAttribute("aria-busy")) return;
  if (VERDICTS[key]) send({ do: "decide", verdict: VERDICTS[key] });
  else if (key === "a") send({ do: "agree" });
  else if (key === "z") send({ do: "undo" });
  else if (key === "e") event.preventDefault(), rewrite();
  else if (key === "arrowright" || key === "j") send({ do: "next" });
});
document.addEventListener("click", (event) => {
  if (event.target.closest?.(".show-keys")) help.showModal();
});

// the list follows what is open here
watch("value", () => {
  for (const row of document.querySelectorAll("#claims .claim")) row.toggleAttribute("aria-current", row.dataset.id === claim()?.dataset.id);
});
