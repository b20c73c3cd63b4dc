// The Train page's form in the browser: it hands over what is filled in. Python makes the form and checks it.
// Runs once, as js_on_load of the form; `element` is the form's component, `trigger` sends what is asked to Python.
const PAUSE = 350; // milliseconds without a key before the form is checked
let waiting = null;
let typed = null; // what was filled in, by label, since a button was pressed that has the form drawn again
let checks = 0; // numbers them: one that is overtaken on its way says nothing

function valueOf(label) {
  const control = label.querySelector("input, select");
  return control.type === "checkbox" ? control.checked : control.value;
}

function values() {
  const found = { fields: {} };
  for (const label of element.querySelectorAll("[data-own]")) found[label.dataset.own] = valueOf(label);
  for (const label of element.querySelectorAll("[data-field]")) found.fields[label.dataset.field] = valueOf(label);
  return found;
}

function showWhatMatters() {
  const found = values();
  const version = found.data.startsWith("version:");
  // of a start such as photo nothing but the regions is trained: no captions, towers, mixtures
  const regions = "regions" in (element.querySelector('[data-own="start"] select').selectedOptions[0]?.dataset ?? {});
  const captions = version && !regions;
  const seen = { caption: captions, unreviewed: captions, held_out: version, open_clip: found.start === "open_clip", processes: found.where !== "cpu" && !regions };
  seen.mix = seen.zero_shot = !regions;
  seen.mix_weight = !regions && found.mix !== "";
  seen.zero_shot_folder = !regions && found.zero_shot === "folder";
  for (const label of element.querySelectorAll("[data-field]")) label.hidden = regions && !("regions" in label.dataset);
  for (const name of ["cpus", "memory_gb"]) seen[name] = ["slurm", "ray"].includes(found.where);
  for (const name of ["partition", "account", "hours"]) seen[name] = found.where === "slurm";
  for (const [name, shown] of Object.entries(seen)) {
    const label = element.querySelector(`[data-own="${name}"]`);
    if (label) label.hidden = !shown;
  }
  for (const group of element.querySelectorAll(".group")) {
    group.hidden = !group.querySelector("label:not([hidden])");
    element.querySelector(`[data-to="${group.dataset.group}"]`).hidden = group.hidden;
  }
}

// what differs from the defaults is marked, and counted where it is folded away
function showWhatDiffers() {
  for (const label of element.querySelectorAll("[data-default]"))
    label.classList.toggle("differs", String(valueOf(label)) !== label.dataset.default);
  const summary = element.querySelector(".advanced summary");
  const count = element.querySelectorAll(".advanced .differs:not([hidden])").length;
  if (summary) summary.textContent = count ? `advanced · ${count} changed` : "advanced";
}

function check() {
  clearTimeout(waiting);
  showWhatMatters();
  showWhatDiffers();
  trigger("input", { values: { ...values(), check: ++checks } });
}

for (const kind of ["input", "change"])
  element.addEventListener(kind, (event) => {
    const label = event.target.closest("[data-own], [data-field]");
    if (label) typed?.set(label, valueOf(label));
  });
element.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(check, PAUSE);
});
element.addEventListener("change", check);
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-recipe]");
  if (button) trigger("select", { recipe: button.dataset.recipe, values: values() });
  const to = event.target.closest("[data-to]");
  if (to) {
    const group = element.querySelector(`[data-group="${to.dataset.to}"]`);
    group.scrollIntoView();
    group.focus({ preventScroll: true });
  }
});
element.addEventListener("submit", (event) => event.preventDefault());
// what is queued or measured is what the form holds when the button is pressed, checked or not
document.addEventListener("click", (event) => {
  if (event.target.closest("#queue, [data-recipe], [data-ask='duplicate']")) typed = new Map();
  else if (!element.contains(event.target)) typed = null;
  const button = ["queue", "measure"].find((name) => event.target.closest(`#${name}`));
  if (button) trigger(button, { values: values() });
});
element.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.tagName === "INPUT") event.preventDefault();
});
// Python draws the form when the page opens, after a run is queued and when one is duplicated, each time under another
// number; the elements stay, and those that a person changed hold that until the form is reset
let drawn = "", unfolded = false; // unfolded: the advanced settings
element.addEventListener("toggle", ({ target }) => target.matches(".advanced") && (unfolded = target.open), true);
function look() {
  const now = element.querySelector("form")?.dataset.drawn;
  if (!now || now === drawn) return;
  drawn = now;
  element.querySelector("form").reset();
  for (const [label, value] of typed ?? []) {
    const control = label.querySelector("input, select");
    control[control.type === "checkbox" ? "checked" : "value"] = value;
  }
  typed = null;
  element.querySelector(".advanced").open = unfolded; // before its toggle says that Python drew it folded
  check();
}
new MutationObserver(look).observe(element, { childList: true, subtree: true, attributeFilter: ["data-drawn"] });
look();
