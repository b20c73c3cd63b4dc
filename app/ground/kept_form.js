// The fields of the Ground page, kept in the browser: a reload, the way back and a crash of the tab lose nothing.
// The tab's own come first; a new tab begins with what was last worked on. The picture is kept by the server, by its id.
const KEPT = "grain.ground";
const FIELDS = {
  descriptions: "#descriptions textarea",
  classes: "#classes textarea",
  checkpoint: "#checkpoint input",
  versus: "#versus input",
  threshold: "#threshold input[type=number]",
  alpha: "#alpha input[type=number]",
};

function keepForm() {
  const place = document.querySelector("#kept [data-picture]");
  if (!place) return; // not open yet, or no picture
  const form = { owner: place.dataset.owner, picture: place.dataset.picture, search: window.location.search };
  for (const [name, selector] of Object.entries(FIELDS)) form[name] = document.querySelector(selector)?.value ?? "";
  if (form.versus === "nothing") form.versus = "";
  for (const store of [sessionStorage, localStorage]) {
    try {
      store.setItem(KEPT, JSON.stringify(form));
    } catch {
      continue; // full, or forbidden: the page works without
    }
  }
}
document.addEventListener("input", keepForm);
document.addEventListener("change", keepForm);
