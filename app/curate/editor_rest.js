// What follows the acts once the hand rests, so that no key waits for it: the address of the page (a browser fetches its icon
// again with each), the counts, where they are open, and where else the picture on the screen is worked on.
const REST_MS = 500;
let restTimer = 0, counted = false; // whether the counts that are shown are those of what is saved
let aboutPicture = 0; // whose links are shown

function awaitRest() {
  clearTimeout(restTimer);
  restTimer = setTimeout(rest, REST_MS);
}
for (const name of ["keydown", "pointerdown"]) document.addEventListener(name, awaitRest, true);

async function rest() {
  keepAddress(queue.view().at);
  const image = queue.view().at.image, counts = !counted && Boolean(document.querySelector("#counts"));
  if (!session.person || (image === aboutPicture && !counts)) return;
  aboutPicture = image;
  counted ||= counts;
  const answer = await post("rest", { image, counts, filters: session.filters }).catch(() => null);
  if (!answer) return void ([counted, aboutPicture] = [false, -1]); // asked again once the hand rests again
  document.dispatchEvent(new CustomEvent("curate:links", { detail: answer.links }));
  if (answer.counts) document.dispatchEvent(new CustomEvent("curate:counted", { detail: answer.counts }));
}
document.addEventListener("curate:counts-open", () => ((counted = false), awaitRest()));

function keepAddress(at) {
  if (!session.person) return; // the link that led here is not read yet
  const address = addressOf(at);
  if (address !== location.pathname + location.search) history.replaceState(history.state, "", address);
}

function addressOf({ state, image, region }) {
  const query = new URLSearchParams(filters);
  if (state === "open") query.set(region ? "region" : "image", region || image);
  return `${location.pathname}${query.size ? `?${query}` : ""}`;
}

// The browser's Back closes the editor, and its Forward opens it again: what is opened is an entry of its own in the history.
const EDITOR = "grain.curate.editor"; // in an entry's state: "open", or "closed" since, which the next one to be opened uses
const editorEntry = () => history.state?.[EDITOR];

function keepEntry(now) {
  const state = { ...history.state, [EDITOR]: now }, address = addressOf(queue.view().at);
  now === "open" && !editorEntry() ? history.pushState(state, "", address) : history.replaceState(state, "", address);
}
window.addEventListener("popstate", () => {
  const shown = queue.view().at.state !== "empty", entered = editorEntry() === "open";
  if (shown && !entered) closeEditor();
  if (!shown && entered) openLinked(new URLSearchParams(location.search), open);
});

// A page that is reloaded before the hand rests opens what was on the screen, which its address does not say yet.
const LEFT_AT = "grain.curate.left-at";
window.addEventListener("pagehide", () => session.person && sessionStorage.setItem(LEFT_AT, addressOf(queue.view().at)));

function linkedQuery() {
  const address = sessionStorage.getItem(LEFT_AT) ?? "", [{ type }] = performance.getEntriesByType("navigation");
  const again = type === "reload" && address.split("?")[0] === location.pathname;
  return new URLSearchParams(again ? address.slice(location.pathname.length) : location.search);
}

// Open the region or the picture that an address names, if it does.
function openLinked(query, open) {
  const [id, image] = ["region", "image"].map((name) => query.get(name));
  if (id || image) open(id ? { id } : { image });
}
