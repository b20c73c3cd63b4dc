// Boxes on the editor's picture: drawing, moving and resizing them with the pointer. A box that is done is page.js's.
const SIDES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
const CLICK = 3; // pixels of the screen: a smaller drag is a click
let drag = null; // { kind, image, group, from, box, now, side }

// A pixel of the picture, which is the least a box may be; of a picture that is not loaded yet, about one.
const photograph = () => element.querySelector(".frame img");
function pixel() {
  const { naturalWidth, naturalHeight } = photograph();
  return [1 / (naturalWidth || 1_000), 1 / (naturalHeight || 1_000)];
}

const clamp = (value) => Math.min(1, Math.max(0, value));
const svg = () => element.querySelector("svg");
const chosenBox = () => element.querySelector(".region.chosen");

function place(event) {
  const frame = svg().getBoundingClientRect();
  return [clamp((event.clientX - frame.left) / frame.width), clamp((event.clientY - frame.top) / frame.height)];
}

function boxOf(group) {
  const rect = group.querySelector("rect.line");
  const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => Number(rect.getAttribute(name)));
  return [x, y, x + width, y + height];
}

function show(group, [x0, y0, x1, y1]) {
  for (const rect of group.querySelectorAll("rect")) {
    for (const [name, value] of Object.entries({ x: x0, y: y0, width: x1 - x0, height: y1 - y0 })) rect.setAttribute(name, value);
  }
}

function newBox() {
  const group = document.createElementNS("http://www.w3.org/2000/svg", "g");
  group.setAttribute("class", "region new");
  for (const name of ["casing", "line"]) {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    rect.setAttribute("class", name);
    group.append(rect);
  }
  svg().append(group);
  return group;
}

// Small boxes have small handles outside of them, so that they can be seen. at: the box in pixels of the window.
function placeHandles(group, at) {
  const [x0, y0, x1, y1] = boxOf(group);
  const { size, out, corners } = handleShape(at.right - at.left, at.bottom - at.top);
  for (const side of SIDES) {
    if (corners && side.length === 1) continue;
    const handle = document.createElement("span");
    handle.className = `handle ${side}`;
    handle.dataset.side = side;
    const x = side.includes("w") ? x0 : side.includes("e") ? x1 : (x0 + x1) / 2;
    const y = side.includes("n") ? y0 : side.includes("s") ? y1 : (y0 + y1) / 2;
    const outwards = ([low, high]) => (side.includes(low) ? -out : side.includes(high) ? out : 0);
    handle.style.setProperty("--size", `${size}px`);
    handle.style.left = `calc(${100 * x}% + ${outwards("we")}px)`;
    handle.style.top = `calc(${100 * y}% + ${outwards("ns")}px)`;
    element.querySelector(".frame").append(handle);
  }
}

element.addEventListener("pointerdown", (event) => {
  if (beginPan(event) || event.button > 0) return;
  if (!event.target.closest("svg, .handle")) return;
  const handle = event.shiftKey ? null : event.target.closest(".handle"); // Shift always draws
  const group = event.target.closest(".region:not(.new)");
  event.preventDefault();
  if (drag) endDrag(true);
  const from = place(event), image = shownPicture(), taken = handle ? null : suggestionUnder(event, from, group);
  if (handle) drag = { kind: "size", image, group: chosenBox(), from, box: boxOf(chosenBox()), side: handle.dataset.side };
  else if (group && !event.shiftKey) {
    choose(Number(group.dataset.id));
    drag = { kind: "move", image, group, from, box: boxOf(group), taken };
  } else drag = { kind: "draw", image, group: newBox(), from, box: [...from, ...from], taken };
  // of what is on the screen now, whatever is answered until the pointer is lifted
  if (drag.kind !== "draw") drag.ask = askOfBox(drag.group);
  if (drag.ask) queue.drafts.set("drag", drag.ask);
  element.setPointerCapture(event.pointerId);
  update();
});

// Move the chosen box by pixels of the picture, or with `grow` its right and lower side; Shift let go ends it.
function nudge([across, down], grow) {
  const group = chosenBox(), [wide, high] = pixel();
  if (!group || !photograph().naturalWidth) return;
  if (!drag) {
    drag = { kind: "nudge", image: shownPicture(), group, box: boxOf(group), now: boxOf(group), ask: askOfBox(group) };
    queue.drafts.set("drag", drag.ask);
  }
  const [x0, y0, x1, y1] = drag.now, [dx, dy] = [across * wide, down * high];
  if (grow) drag.now = [x0, y0, Math.max(x0 + wide, clamp(x1 + dx)), Math.max(y0 + high, clamp(y1 + dy))];
  else {
    const [mx, my] = [Math.min(Math.max(dx, -x0), 1 - x1), Math.min(Math.max(dy, -y0), 1 - y1)];
    drag.now = [x0 + mx, y0 + my, x1 + mx, y1 + my];
  }
  show(group, drag.now);
  drawSoon();
}
for (const name of ["keyup", "blur"]) window.addEventListener(name, (event) => drag?.kind === "nudge" && (name === "blur" || event.key === "Shift") && endDrag(true));

const askOfBox = (group) => ({ do: "box", image: shownPicture(), id: Number(group.dataset.id), version: queue.versionOf(Number(group.dataset.id)) });

function dragged(event) {
  const [x, y] = place(event), [x0, y0] = drag.from, box = [...drag.box];
  if (drag.kind === "draw") return [Math.min(x, x0), Math.min(y, y0), Math.max(x, x0), Math.max(y, y0)];
  if (drag.kind === "move") {
    const dx = Math.min(Math.max(x - x0, -box[0]), 1 - box[2]), dy = Math.min(Math.max(y - y0, -box[1]), 1 - box[3]);
    return [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy];
  }
  const [wide, high] = pixel();
  if (drag.side.includes("w")) box[0] = Math.min(x, box[2] - wide);
  if (drag.side.includes("e")) box[2] = Math.max(x, box[0] + wide);
  if (drag.side.includes("n")) box[1] = Math.min(y, box[3] - high);
  if (drag.side.includes("s")) box[3] = Math.max(y, box[1] + high);
  return box;
}

element.addEventListener("pointermove", (event) => {
  if (movePan(event) || !drag || drag.kind === "nudge") return;
  drag.now = dragged(event);
  show(drag.group, drag.now);
  drawSoon();
});

function endDrag(done) {
  if (!drag) return;
  const { kind, group, box, now, image, ask, taken } = drag;
  drag = null;
  queue.drafts.delete("drag");
  const moved = (least) => Boolean(now) && now.some((value, index) => Math.abs(value - box[index]) >= least[index % 2]);
  const { width, height } = svg()?.getBoundingClientRect() ?? { width: 1, height: 1 }, click = [CLICK / width, CLICK / height];
  const drawn = kind === "draw", large = drawn && Boolean(now) && now[2] - now[0] >= click[0] && now[3] - now[1] >= click[1];
  if (done && taken && !(drawn ? large : moved(click))) {
    if (!drawn) show(group, box);
    takeInto(drawn ? group : newBox(), taken, image);
  } else if (drawn) {
    if (!done || !large) group.remove();
    else write("What is in the box?", "", { do: "draw", image, box: now }, { group });
  } else if (done && moved([1e-6, 1e-6])) act(() => queue.add({ ...ask, box: now }));
  update();
}
element.addEventListener("pointerup", (event) => (endPan(event), endDrag(true)));
element.addEventListener("pointercancel", (event) => (endPan(event), endDrag(false)));
