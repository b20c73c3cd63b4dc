// Where the editor's picture lies in its window: zoom, pan, fit. Shares of the window's sides; no page in here.
// A point p of the picture (0 to 1) is at x + zoom * p of the window.
const MOST_ZOOM = 40, FIT_SHARE = 0.6; // of the window that a box takes once it is fitted

function pictureView() {
  let image = 0, zoom = 1, x = 0, y = 0;
  const within = (value) => Math.min(0, Math.max(1 - zoom, value));

  function move(newZoom, newX, newY) {
    zoom = Math.min(MOST_ZOOM, Math.max(1, newZoom));
    [x, y] = [within(newX), within(newY)];
  }

  // Another picture is seen whole; the same one stays as it is.
  function open(other) {
    if (other !== image) move(1, 0, 0);
    image = other;
  }

  // What is under a point of the window stays there.
  function zoomAt([u, v], factor) {
    const wanted = Math.min(MOST_ZOOM, Math.max(1, zoom * factor)), by = wanted / zoom;
    move(wanted, u - by * (u - x), v - by * (v - y));
  }

  function fit([x0, y0, x1, y1]) {
    const wanted = Math.min(MOST_ZOOM, FIT_SHARE / Math.max(x1 - x0, y1 - y0, FIT_SHARE / MOST_ZOOM));
    move(wanted, 0.5 - (wanted * (x0 + x1)) / 2, 0.5 - (wanted * (y0 + y1)) / 2);
  }

  return {
    ...{ open, zoomAt, fit },
    pan: (across, down) => move(zoom, x + across, y + down),
    reset: () => move(1, 0, 0),
    place: () => ({ zoom, x, y }),
  };
}

// Where a label of a size goes beside a box, in pixels of a window: above it, else below, else inside; never cut off.
function labelPlace({ left, top, right, bottom }, label, frame, gap = 6) {
  const across = Math.max(0, Math.min(left, frame.width - label.width));
  const lowest = Math.max(0, frame.height - label.height);
  if (top - gap - label.height >= 0) return [across, Math.min(top - gap - label.height, lowest)];
  if (bottom + gap <= lowest) return [across, Math.max(0, bottom + gap)];
  return [across, 0];
}

// The handles of a box of some pixels: how large they are, how far outside the box, and whether only its corners have one.
function handleShape(width, height) {
  const side = Math.min(width, height), size = Math.round(Math.min(12, Math.max(6, side / 3)));
  return { size, out: side < 24 ? size / 2 + 2 : 0, corners: side < 36 };
}
