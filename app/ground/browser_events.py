"""Hold the small scripts that the page's events run in the browser."""

from __future__ import annotations

READ_KEPT = """() => {
  const read = (store) => {
    try {
      return JSON.parse(store.getItem("grain.ground"));
    } catch {
      return null; // somebody else's, or forbidden
    }
  };
  const own = read(sessionStorage), last = own ?? read(localStorage);
  const query = new URLSearchParams(location.search);
  const linked = query.has("q") || query.has("image");
  const kept = linked && own?.search !== location.search ? null : last;
  return [kept ? JSON.stringify(kept) : ""];
}"""
CLEAR_EXAMPLE = """(picture) => {
  if (!picture) return;
  document.body.classList.add("stale-result");
  const examples = [...document.querySelectorAll("#gallery [data-example]")];
  for (const name of ["descriptions", "classes"]) {
    const field = document.querySelector(`#${name} textarea`);
    if (!examples.some((example) => example.dataset[name].trim() === field?.value.trim())) continue;
    field.value = "";
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
}"""
"""Writes into the fields itself: a late answer to the removal of a picture would bring back the example's texts."""
PUT_INTO_ADDRESS = "(query) => { if (query) history.replaceState(null, '', `?q=${query}`); }"
ON_EXAMPLE = """element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-example]");
  if (button) trigger("click", { example: Number(button.dataset.example) });
});"""
ON_SEEN = """element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-add]"), field = document.querySelector("#descriptions textarea");
  if (!button || !field) return;
  const before = field.value.trim(), between = /^[^\\n]*[,;][^\\n]*$/.test(before) ? ", " : "\\n";
  field.value = before ? before + between + button.dataset.add : button.dataset.add;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  button.remove();
  requestAnimationFrame(() => document.querySelector("#run-button").click());
});"""
TOGGLE_CODE = "() => { document.querySelector('#code').classList.toggle('open'); }"
