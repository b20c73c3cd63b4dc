// Saved filters, the trash and the latest acts of the Curate page in the browser.
// Runs once, as js_on_load; `element` is the panel, `trigger` sends what is asked to Python.
function keepFilter() {
  trigger("click", { ask: { do: "save", name: element.querySelector(".keep-filter input").value } });
}
element.addEventListener("keydown", (event) => event.key === "Enter" && event.target.matches(".keep-filter input") && keepFilter());
element.addEventListener("click", (event) => {
  const { keepFilter: keep, drop, empty, act, back } = event.target.closest("button")?.dataset ?? {};
  if (keep) keepFilter();
  if (drop && event.detail < 2) trigger("click", { ask: { do: "drop", name: drop } }); // by the second press another one lies there
  if (empty) event.target.closest("details").open = false; // answered: an equal panel would leave the question open
  if (empty) trigger("select", { regions: Number(empty) });
  if (act) document.dispatchEvent(new CustomEvent("curate:back", { detail: { action: act, back } }));
});
