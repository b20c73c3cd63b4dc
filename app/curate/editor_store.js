// What is not saved yet, kept in the browser: by person and data set, so that it can be offered again after a restart of
// the app, the browser or the machine. storage, tab, locks: localStorage, sessionStorage and navigator.locks, or anything
// like them. A page holds a lock for as long as it is open.
const STORE = "grain.curate", TAB = "grain.curate.tab";
const BEAT_MS = 5_000, STALE_MS = 90_000; // where browsers give no locks (plain http), a page that is open says so, once a minute

function editorStore({ storage, tab, locks, newId, now }) {
  if (!tab.getItem(TAB)) tab.setItem(TAB, newId());
  const mine = tab.getItem(TAB), sitting = newId(), written = new Set(), homes = new Map();
  const lockOf = (page) => `${STORE}.${page}`;
  let place = ""; // of the person and the data set
  locks?.request(lockOf(sitting), () => new Promise(() => {}));
  const read = (key) => {
    try {
      return JSON.parse(storage.getItem(key));
    } catch {
      return null; // somebody else's
    }
  };

  // What pages that are gone have left for this person and data set: { key, acts, drafts } each.
  async function left(person, dataset) {
    place = JSON.stringify([STORE, person, dataset]);
    const keys = [...Array(storage.length).keys()].map((index) => storage.key(index)).filter((key) => key.startsWith(place));
    const found = keys.map((key) => ({ key, ...read(key) })).filter((each) => Array.isArray(each.acts) && each.sitting !== sitting);
    if (!locks || !found.length) return found.filter((each) => each.tab === mine || now() - each.at > STALE_MS);
    const open = new Set((await locks.query()).held.map(({ name }) => name));
    return found.filter((each) => !open.has(lockOf(each.sitting)));
  }

  // Keep the acts that are not saved and the words that are not finished. What belongs to another data set stays with it.
  function keep(acts, drafts) {
    if (!place) return;
    const kept = new Map();
    const into = (name, what, each) => {
      if (!homes.has(name)) homes.set(name, place);
      const key = `${homes.get(name)}${sitting}`;
      if (!kept.has(key)) kept.set(key, { acts: [], drafts: [] });
      kept.get(key)[what].push(each);
    };
    for (const each of acts) into(each.act, "acts", each);
    for (const each of drafts) into(JSON.stringify(each.ask), "drafts", each);
    for (const key of written) if (!kept.has(key)) storage.removeItem(key);
    written.clear();
    for (const [key, each] of kept) {
      try {
        storage.setItem(key, JSON.stringify({ ...each, tab: mine, sitting, at: now() }));
      } catch {
        continue; // the browser's store is full: what is not saved is in this page only
      }
      written.add(key);
    }
  }

  return { left, keep, drop: (key) => storage.removeItem(key) };
}
