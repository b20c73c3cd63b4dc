// Which regions of the gallery are selected. No page in here: gallery.js draws it. Regions are [id, picture] each.
function pickedRegions() {
  let picked = new Map(), all = false, anchor = 0; // all: all of the filter, also what is on no page yet

  // A click on one; with Shift all between the last one and this, as they lie on the page.
  function pick(id, shown, { range = false } = {}) {
    const ids = shown.map(([each]) => each), from = ids.indexOf(anchor), to = ids.indexOf(id);
    if (all) [picked, all] = [new Map(shown), false];
    const some = range && from >= 0 && to >= 0 ? shown.slice(Math.min(from, to), Math.max(from, to) + 1) : shown.slice(to, to + 1);
    const put = range || !picked.has(id);
    for (const [each, image] of some) put ? picked.set(each, image) : picked.delete(each);
    anchor = id;
  }

  function words() {
    if (all) return "All of the filter";
    const regions = picked.size, pictures = new Set(picked.values()).size;
    return regions ? `${regions} region${regions > 1 ? "s" : ""} on ${pictures} picture${pictures > 1 ? "s" : ""} selected` : "";
  }

  return {
    ...{ pick, words },
    pickAll: (shown) => ((all = false), shown.forEach(([id, image]) => picked.set(id, image))),
    pickFilter: () => ((all = true), picked.clear()),
    clear: () => ((all = false), picked.clear(), (anchor = 0)),
    has: (id) => all || picked.has(id),
    any: () => all || picked.size > 0,
    ids: () => (all ? null : [...picked.keys()]), // null: all of the filter
  };
}
