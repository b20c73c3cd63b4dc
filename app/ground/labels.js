// Place the labels of the picture: at their boxes' edges where there is room, else at the nearest place that is free.
// The same rule as place_labels of grain/draw.py, with the browser's own letters.
const GAP = 2;

function overlap(one, other) {
  const across = Math.min(one.x + one.w, other.x + other.w) - Math.max(one.x, other.x);
  const down = Math.min(one.y + one.h, other.y + other.h) - Math.max(one.y, other.y);
  return Math.max(0, across) * Math.max(0, down);
}

function* placesOf(box, w, h, height) {
  const above = box.y >= h + GAP ? box.y - h - GAP : box.y + GAP;
  for (const y of [above, box.y + GAP, box.y + box.h + GAP, box.y + box.h - h - GAP]) yield* [[box.x, y], [box.x + box.w - w, y]];
  for (let step = 1; step <= Math.round(height / h); step += 1) {
    for (const y of [above - step * (h + GAP), above + step * (h + GAP)]) {
      if (y >= 0 && y <= height - h) yield* [[box.x, y], [box.x + box.w - w, y]];
    }
  }
}

// frame: the element with the picture, its regions (.versus: a second checkpoint's; .likeliest: where one that was not found would be) and their labels, in one order.
function placeLabels(frame) {
  const frameRect = frame.getBoundingClientRect(), taken = [];
  const regions = [...frame.querySelectorAll(".region, .versus, .likeliest")];
  frame.querySelectorAll(".tag").forEach((tag, index) => {
    const edge = regions[index]?.querySelector(".line").getBoundingClientRect();
    if (!edge || !tag.offsetWidth) return; // switched off
    const box = { x: edge.left - frameRect.left, y: edge.top - frameRect.top, w: edge.width, h: edge.height };
    const w = tag.offsetWidth, h = tag.offsetHeight;
    let best = { x: 0, y: 0, w, h }, least = Infinity;
    for (const [x, y] of placesOf(box, w, h, frameRect.height)) {
      const at = { x: Math.min(Math.max(x, 0), Math.max(0, frameRect.width - w)), y: Math.min(Math.max(y, 0), Math.max(0, frameRect.height - h)), w, h };
      const covered = taken.reduce((sum, other) => sum + overlap(at, other), 0);
      if (covered < least) [best, least] = [at, covered];
      if (!covered) break;
    }
    taken.push(best);
    Object.assign(tag.style, { left: `${best.x}px`, top: `${best.y}px`, right: "auto", transform: "none", margin: "0" });
  });
}
