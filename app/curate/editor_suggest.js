// Boxes that the model would draw, while they are asked for: the smallest under the pointer is shown with its words, and a
// press takes it into the field for words, as if it had been drawn. page.js sends what nextSuggestions() asks.
const COVERED = 0.7; // IoU with a box that is there already: nobody needs that one
const MOST_SENT = 8; // words of this sitting that are looked for
let suggested = { image: 0, words: "", boxes: [] }; // what was answered, of which picture, when these were the last words
let suggesting = null; // the question whose answer is awaited: { asked, image, words }
let suggestPause = 0; // before the same is asked again
let lastBox = null; // that this person drew or accepted last: { image, box, text }
let nearest = null; // the suggestion under the pointer

const suggests = () => looks.suggest === "on" && session.edits && Boolean(svg());
const areaOf = ([x0, y0, x1, y1]) => Math.max(0, x1 - x0) * Math.max(0, y1 - y0);
const within = ([x, y], [x0, y0, x1, y1]) => x >= x0 && x <= x1 && y >= y0 && y <= y1;

function overlapOf(one, other) {
  const common = areaOf([Math.max(one[0], other[0]), Math.max(one[1], other[1]), Math.min(one[2], other[2]), Math.min(one[3], other[3])]);
  return common / Math.max(1e-9, areaOf(one) + areaOf(other) - common);
}

// Those of the picture on the screen that have no box yet, the likeliest first.
function suggestions() {
  if (!suggests() || suggested.image !== shownPicture()) return [];
  const there = [...element.querySelectorAll(".region")].filter((group) => group.style.display !== "none").map(boxOf);
  return suggested.boxes.filter(({ box }) => there.every((each) => overlapOf(each, box) < COVERED));
}

// The smallest suggestion at a point; a box of a person that is smaller still is meant instead.
function suggestionAt(point, group) {
  const most = group ? areaOf(boxOf(group)) : Infinity;
  const found = suggestions().filter(({ box }) => within(point, box) && areaOf(box) < most);
  return found.sort((one, other) => areaOf(one.box) - areaOf(other.box))[0] ?? null;
}

// What a press there takes. A finger has seen no more than those with words.
function suggestionUnder(event, point, group) {
  const found = suggestionAt(point, group);
  return event.pointerType === "touch" && !found?.text ? null : found;
}

// Ask for the words of a suggestion, as of a box that was drawn. group: shows it until the words are there.
function takeInto(group, { box, text }, image) {
  show(group, box);
  write("What is in the box?", text, { do: "draw", image, box }, { group });
}

// What to ask the app: about a picture that nothing is known of, or once more after other words were written.
function nextSuggestions(newName) {
  const image = shownPicture(), words = lastWords();
  if (!suggests() || suggesting || (suggested.image === image && suggested.words === words) || drag || prompt) return null;
  suggesting = { asked: newName, image, words };
  return { ...suggesting, texts: ownWords.slice(-MOST_SENT), last: lastBox };
}

function suggestionsCame({ asked, boxes, refused }) {
  if (!suggesting || asked !== suggesting.asked) return;
  suggested = { image: suggesting.image, words: suggesting.words, boxes: boxes ?? [] };
  suggesting = null;
  suggestPause = 0;
  if (refused) say(refused);
  update();
}

// Nothing came back, as from a model that is still loading: the same is asked again, after a pause.
function suggestionsFailed(asked) {
  suggestPause = Math.min(LONGEST_PAUSE_MS, 2 * suggestPause || 1_000);
  setTimeout(() => {
    if (suggesting?.asked !== asked) return;
    suggesting = null;
    update();
  }, suggestPause);
}

// Another checkpoint: what is known, or on its way, is of the one before.
function forgetSuggestions() {
  suggested = { image: 0, words: "", boxes: [] };
  suggesting = null;
  update();
}

// Those with words are seen, the others under the pointer only: a picture may have dozens.
function drawSuggestions() {
  const frame = element.querySelector(".frame");
  frame?.querySelectorAll(".suggested").forEach((each) => each.remove());
  if (!frame || drag || prompt) return;
  suggestions().filter((each) => each.text || each === nearest).forEach((suggestion) => {
    const { box: [x0, y0, x1, y1], text, alike } = suggestion, place = document.createElement("span");
    place.className = `suggested${alike ? " alike" : ""}${suggestion === nearest ? " near" : ""}`;
    Object.assign(place.style, { left: `${100 * x0}%`, top: `${100 * y0}%`, width: `${100 * (x1 - x0)}%`, height: `${100 * (y1 - y0)}%` });
    if (text) place.append(Object.assign(document.createElement("b"), { textContent: text }));
    frame.append(place);
  });
}

element.addEventListener("pointermove", (event) => {
  if (!suggests() || drag || !event.target.closest(".frame")) return;
  const now = suggestionAt(place(event), event.target.closest(".region"));
  if (now === nearest) return;
  nearest = now;
  drawSuggestions();
});

// Take the likeliest one that has words, as it is.
function takeSuggestion() {
  const [best] = suggestions().filter(({ text }) => text), image = shownPicture();
  if (!best) return say(suggests() ? "No suggestion with words here." : "S shows what the model suggests; T takes the likeliest.");
  let added = "";
  act(() => (added = queue.add({ do: "draw", image, box: best.box, text: best.text })));
  if (!added) return;
  lastBox = { image, box: best.box, text: best.text };
  say(`Added: ${best.text}`);
}

// The box that was accepted, for what looks like it on the next picture.
function noteBox(region) {
  const row = panel.querySelector(`.text[data-id="${region}"]`), place = queue.view().picture?.regions.find(({ id }) => id === region)?.box;
  const group = svg()?.querySelector(`.region[data-box="${place}"]`);
  if (row && group) lastBox = { image: shownPicture(), box: boxOf(group), text: row.querySelector("input").value };
}
