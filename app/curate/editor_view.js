// The window onto the editor's picture: wheel, pinch, pan, the label of the chosen description, a loupe for small boxes, and
// what the other boxes look like. Where the picture lies is picture_view.js's.
const windowView = pictureView();
const LOUPE_PX = 20, LOUPE_SIDE = 132, LOUPE_SHARE = 0.5; // a smaller box has a loupe; its side; the share that the box takes
const OTHERS = ["shown", "dimmed", "hidden"], COLOURS = ["description", "verdict"], SUGGESTS = ["off", "on"], FINGERS = ["scrolls", "draws"];
const LOOKS = "grain.curate.looks", TAP = 10; // a finger that moves by fewer pixels of the screen taps
const looks = { others: "shown", colour: "description", suggest: "off", finger: "scrolls", ...readLooks() };
const fingers = new Map(); // of a touch: id -> where it is
let tap = null; // of the finger that does not draw: { id, x, y, group, image }
let frameAsked = 0, drawnRegion = 0; // the frame that draws what lies on the picture; the description that was chosen in the last one
let panning = null; // the pointer that moves the picture, and where it was
let spaceDown = false, spaceUsed = false; // whether the picture was moved with it

function readLooks() {
  try {
    return JSON.parse(localStorage.getItem(LOOKS));
  } catch {
    return null; // somebody else's
  }
}

const viewport = () => element.querySelector(".viewport");
const share = ({ clientX, clientY }) => {
  const frame = viewport().getBoundingClientRect();
  return [(clientX - frame.left) / frame.width, (clientY - frame.top) / frame.height];
};

// Put the picture where the view says, and what lies on it where that is now.
function showView() {
  const frame = element.querySelector(".frame");
  if (!frame) return;
  const { zoom, x, y } = windowView.place();
  Object.assign(frame.style, { width: `${100 * zoom}%`, height: `${100 * zoom}%`, left: `${100 * x}%`, top: `${100 * y}%` });
  viewport().dataset.zoomed = zoom > 1 ? "1" : "";
  setText(element.querySelector(".zoom-level"), `${Math.round(100 * zoom)} %`);
  showLooks();
  drawSoon();
}

// What lies on the picture is placed once a frame: a look at where things are makes the browser lay out the page.
function drawSoon() {
  element.querySelectorAll(".handle").forEach((handle) => handle.remove()); // nobody presses those of a box that was chosen before
  frameAsked ||= requestAnimationFrame(drawOnPicture);
}

function drawOnPicture() {
  frameAsked = 0;
  const label = element.querySelector(".on-picture"), loupe = element.querySelector(".loupe"), group = chosenBox();
  if (!label) return;
  fillLabel(label, drag?.kind === "draw" ? null : group);
  const area = viewport().getBoundingClientRect(), size = { width: label.offsetWidth, height: label.offsetHeight };
  const { region } = queue.view().at, list = panel.querySelector(".marks"), by = drawnRegion === region ? 0 : toChosen(list);
  drawnRegion = region;
  loupe.hidden = true;
  if (group && group.style.display !== "none") placeHandles(group, pixels(boxOf(group), area));
  if (!label.hidden) placeLabel(label, loupe, { box: boxOf(group), size, area });
  drawSuggestions();
  if (by) list.scrollTop += by;
}

function showLooks() {
  Object.assign(viewport().dataset, looks);
  for (const button of element.querySelectorAll(".view-tools [data-look]")) setText(button.querySelector("b"), looks[button.dataset.look]);
}

function turnLook(name, choices) {
  looks[name] = choices[(choices.indexOf(looks[name]) + 1) % choices.length];
  localStorage.setItem(LOOKS, JSON.stringify(looks));
  showView();
}

// A box of the picture in pixels of its window.
function pixels([x0, y0, x1, y1], { width, height }) {
  const { zoom, x, y } = windowView.place();
  return { left: width * (x + zoom * x0), top: height * (y + zoom * y0), right: width * (x + zoom * x1), bottom: height * (y + zoom * y1) };
}

// ---------------------------------------------------------------- words, verdict and loupe of the chosen one
function fillLabel(label, group) {
  const row = chosenRow();
  label.hidden = !group || !row;
  if (label.hidden) return;
  const { status } = row.dataset;
  label.className = `on-picture ${status}`;
  setText(label.querySelector(".sign"), `${SIGNS[status] ?? "–"} ${status}`);
  setText(label.querySelector(".words"), row.querySelector("input").value);
  setText(label.querySelector(".origin"), row.querySelector(".quiet").textContent.trim());
}

function placeLabel(label, loupe, { box, size, area }) {
  const at = pixels(box, area), [left, top] = labelPlace(at, size, area);
  Object.assign(label.style, { left: `${left}px`, top: `${top}px` });
  if (Math.min(at.right - at.left, at.bottom - at.top) < LOUPE_PX) showLoupe(loupe, { box, at, frame: area });
}

// The box, enlarged, in the lower corner that is farther from it.
function showLoupe(loupe, { box: [x0, y0, x1, y1], at, frame }) {
  const image = element.querySelector(".frame img"), { zoom } = windowView.place();
  const [width, height] = [zoom * frame.width, zoom * frame.height]; // of the picture
  const by = Math.min(24, (LOUPE_SHARE * LOUPE_SIDE) / Math.max((x1 - x0) * width, (y1 - y0) * height, 1));
  const middle = [((x0 + x1) / 2) * width * by, ((y0 + y1) / 2) * height * by];
  loupe.hidden = false;
  loupe.dataset.side = (at.left + at.right) / 2 < frame.width / 2 ? "right" : "left";
  Object.assign(loupe.style, {
    backgroundImage: `url("${image.src}")`,
    backgroundSize: `${width * by}px ${height * by}px`,
    backgroundPosition: `${LOUPE_SIDE / 2 - middle[0]}px ${LOUPE_SIDE / 2 - middle[1]}px`,
  });
  Object.assign(loupe.firstElementChild.style, { width: `${(x1 - x0) * width * by}px`, height: `${(y1 - y0) * height * by}px` });
}

// By how much the list beside the picture has to scroll to show the chosen description, without moving the page.
function toChosen(list) {
  const row = chosenRow();
  if (!list || !row) return 0;
  const [outer, inner] = [list, row].map((each) => each.getBoundingClientRect());
  if (inner.top < outer.top) return inner.top - outer.top - 8;
  return inner.bottom > outer.bottom ? inner.bottom - outer.bottom + 8 : 0;
}

// ---------------------------------------------------------------- wheel, fingers, buttons, keys
element.addEventListener("wheel", (event) => {
  if (!event.target.closest(".viewport")) return;
  const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 18 : 1;
  const factor = Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002));
  if (factor < 1 && windowView.place().zoom === 1) return; // the page scrolls
  event.preventDefault();
  windowView.zoomAt(share(event), factor);
  showView();
}, { passive: false });

// Whether a press moves the picture: a second finger, the middle button, or Space held down. What was drawn is dropped then.
function beginPan(event) {
  if (!event.target.closest(".viewport")) return false;
  if (event.pointerType === "touch") fingers.set(event.pointerId, share(event));
  if (fingers.size === 2) return (tap = panning = null), endDrag(false), true;
  const fingerMoves = event.pointerType === "touch" && looks.finger === "scrolls" && !event.target.closest(".handle");
  if (fingerMoves) tap = { id: event.pointerId, x: event.clientX, y: event.clientY, group: event.target.closest(".region:not(.new)"), image: shownPicture() };
  if (!fingerMoves && event.button !== 1 && !spaceDown) return false;
  event.preventDefault();
  spaceUsed = spaceDown;
  panning = { id: event.pointerId, at: share(event) };
  element.setPointerCapture(event.pointerId);
  return true;
}

// Whether a move of a pointer was one of the picture.
function movePan(event) {
  if (fingers.has(event.pointerId)) {
    const before = [...fingers.values()];
    fingers.set(event.pointerId, share(event));
    if (fingers.size === 2) return pinch(before, [...fingers.values()]), true;
  }
  if (panning?.id !== event.pointerId) return false;
  if (tap && Math.hypot(event.clientX - tap.x, event.clientY - tap.y) > TAP) tap = null;
  const at = share(event);
  windowView.pan(at[0] - panning.at[0], at[1] - panning.at[1]);
  panning.at = at;
  showView();
  return true;
}

function pinch(before, after) {
  const middle = ([[x0, y0], [x1, y1]]) => [(x0 + x1) / 2, (y0 + y1) / 2];
  const apart = ([[x0, y0], [x1, y1]]) => Math.hypot((x1 - x0) * viewport().offsetWidth, (y1 - y0) * viewport().offsetHeight) || 1;
  const [from, to] = [middle(before), middle(after)];
  windowView.pan(to[0] - from[0], to[1] - from[1]);
  windowView.zoomAt(to, apart(after) / apart(before));
  showView();
}

function endPan(event) {
  fingers.delete(event.pointerId);
  if (panning?.id === event.pointerId) panning = null;
  if (tap?.id !== event.pointerId) return;
  const { group, image } = tap;
  tap = null;
  if (event.type === "pointerup" && image === shownPicture()) pressed(event, group);
}

// A finger that does not draw chooses what it taps, or takes the suggestion there.
function pressed(event, group) {
  const taken = suggestionUnder(event, place(event), group);
  if (taken) takeInto(newBox(), taken, shownPicture());
  else if (group) choose(Number(group.dataset.id));
}

// Two fingers are the picture's from the start, before the page can scroll by them.
element.addEventListener("touchstart", (event) => event.touches.length > 1 && event.target.closest(".viewport") && event.preventDefault(), { passive: false });

const VIEWS = {
  f: () => chosenBox() && windowView.fit(boxOf(chosenBox())),
  0: () => windowView.reset(),
  "+": () => windowView.zoomAt([0.5, 0.5], 1.5),
  "-": () => windowView.zoomAt([0.5, 0.5], 1 / 1.5),
  h: () => turnLook("others", OTHERS),
  c: () => turnLook("colour", COLOURS),
  s: () => turnLook("suggest", SUGGESTS),
  finger: () => turnLook("finger", FINGERS),
};
VIEWS["="] = VIEWS["+"];

function look(key) {
  if (!viewport()) return;
  VIEWS[key]();
  showView();
  send();
}
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-view]");
  if (button) look(button.dataset.view);
});
for (const name of ["keydown", "keyup", "blur"]) window.addEventListener(name, (event) => {
  if (event.key === " " || name === "blur") spaceDown = name === "keydown" && !event.target.closest?.(FIELDS);
  if (event.key === " " && spaceDown && event.target === document.body && viewport()) event.preventDefault(); // the page does not scroll
  if (event.key === " " && name === "keyup" && spaceUsed) event.preventDefault(), (spaceUsed = false); // a button with the focus is not pressed
});
window.addEventListener("resize", showView);
