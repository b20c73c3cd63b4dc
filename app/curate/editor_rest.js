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
  if (address !== location.pathname + location.search) history.replaceState(null, "", address);
}

function addressOf({ state, image, region }) {
  const query = new URLSearchParams(filters);
  if (state === "open") query.set(region ? "region" : "image", region || image);
  return `${location.pathname}${query.size ? `?${query}` : ""}`;
}

// A page that is reloaded before the hand rests opens what was on the screen, which its address does not say yet.
const LEFT_AT = "grain.curate.left-at";
window.addEventListener("pagehide", () => session.person && sessionStorage.setItem(LEFT_AT, addressOf(queue.view().at)));

function linkedQuery() {
  const address = sessionStorage.getItem(LEFT_AT) ?? "", [{ type }] = performance.getEntriesByType("navigation");
  const again = type === "reload" && address.split("?")[0] === location.pathname;
  return new URLSearchParams(again ? address.slice(location.pathname.length) : location.search);
}
