// The editor's own model: the pictures that it knows, what is on the screen, and what a person did that is not saved yet.
// No page, no clock and no network in here: page.js draws what view() returns, and sends what nextAct() and nextView()
// return, one at a time. An act is bound when it is made to the region and version then on the screen, is shown at once,
// and is named, so that one that is sent twice counts once. newId: returns a name that was never used.
const PICTURE = "picture"; // among the versions on the screen: that of the picture itself
const AHEAD = 24, IN_ANSWER = 12; // pictures known before their turn; of those in one answer
const TOGETHER = 25; // acts in one question
const OF_REGION = { verdict: "status", delete: "status", text: "text", box: "box" }; // an act -> what it changes
const OF_PICTURE = ["review", "caption", "facts"];
const MOST_PICTURES = 80, MOST_VISITED = 200, MOST_JOURNAL = 500;

function editorQueue(newId) {
  const pictures = new Map(); // id -> as the server last sent it, see app/curate/answers.py
  const versions = new Map(); // on the screen: a description's id, or PICTURE -> its version there
  const drafts = new Map(); // a name -> what will be asked with the words that somebody is still writing
  let acts = []; // { ask, from, before, restore, undoes, conflict }, in the order in which they were made
  let journal = []; // acts of this sitting that an undo can name, the last one last: { act, image, region, before } or { many }
  let undone = []; // of the journal, the last one last, each with its undo and what was shown before it: a redo can name them
  let back = null; // an act on many regions to be undone or redone, which gallery.js asks for: { action, back }
  let sent = new Set(), viewing = null; // the acts and the question whose answers are awaited
  let at = { image: 0, region: 0, state: "empty" }; // empty, open, waiting (for the next picture), finished
  let chain = [], visited = [], after = "", end = false; // the queue: what comes next, { image, region } each
  let wish = null; // what to open, { unknown: { id } } or { unknown: { image } }, or a place to go to once nobody is writing
  let untouched = false; // since Review was pressed
  let writing = false, refused = null, message = "";
  let shownImage = 0; // the picture that is drawn
  const latest = new Map(); // a description's id -> the newest version in any answer

  // ---------------------------------------------------------------- what is shown
  const undoneActs = () => new Set(acts.map((entry) => entry.undoes).filter(Boolean));

  // A picture as it will be once all is saved: what the server sent, and what was done since.
  function overlay(image) {
    const { regions, review, caption, facts } = pictures.get(image), found = { review, caption, facts, drawn: [] };
    found.status = new Map(regions.map(({ id, status }) => [id, status]));
    found.text = new Map(regions.map(({ id, text }) => [id, text]));
    found.box = new Map(regions.map(({ id, xyxy }) => [id, xyxy]));
    const undone = undoneActs();
    for (const { ask, restore, conflict } of acts) {
      if (ask.image !== image || conflict || undone.has(ask.act)) continue;
      if (ask.do === "verdict") found.status.set(ask.id, ask.status);
      if (ask.do === "delete") for (const id of affected(ask)) found.status.set(id, "deleted");
      if (ask.do === "text") found.text.set(ask.id, ask.text);
      if (ask.do === "box") for (const id of affected(ask)) found.box.set(id, ask.box);
      if (ask.do === "draw") found.drawn.push({ act: ask.act, box: ask.box, text: ask.text });
      if (["caption", "review"].includes(ask.do)) found[ask.do] = ask.do === "caption" ? ask.text : ask.review;
      if (ask.do === "facts") found.facts = { ...found.facts, ...ask.facts };
      for (const what of ["status", "text", "box"]) for (const [id, value] of restore?.[what] ?? []) found[what].set(id, value);
      Object.assign(found, restore?.picture);
    }
    return found;
  }

  // The descriptions that an act is about: one, or all of its box.
  function affected({ image, id, whole, box }) {
    const regions = pictures.get(image)?.regions ?? [], mine = regions.find((each) => each.id === id);
    return (whole || box) && mine ? regions.filter((each) => each.box === mine.box).map((each) => each.id) : [id];
  }

  function pendingIn(image) {
    const { status } = overlay(image);
    return pictures.get(image).regions.map((each) => each.id).filter((id) => status.get(id) === "pending");
  }

  // ---------------------------------------------------------------- moving on
  function go(image, region) {
    const { status } = overlay(image), left = pictures.get(image).regions.map((each) => each.id);
    const there = left.filter((id) => status.get(id) !== "deleted");
    const chosen = there.includes(region) ? region : (there[0] ?? 0);
    if (at.image && at.image !== image) visited = [...visited.filter((each) => each !== at.image), at.image].slice(-MOST_VISITED);
    chain = chain.filter((each) => each.image !== image);
    at = { image, region: chosen, state: "open" };
  }

  function toNextPicture() {
    while (chain.length) {
      const { image, region } = chain.shift(), pending = pictures.has(image) ? pendingIn(image) : [];
      if (pending.length) return go(image, pending.includes(region) ? region : pending[0]);
    }
    at = { ...at, state: end ? "finished" : "waiting" };
  }

  function advance() {
    const pending = overlay(at.image).review === "open" ? pendingIn(at.image) : [];
    pending.length ? go(at.image, pending[0]) : toNextPicture();
  }

  function next() {
    [wish, untouched] = [null, false];
    if (at.state === "waiting") return;
    if (at.state !== "open") return first();
    const ids = pictures.get(at.image).regions.map((each) => each.id), here = ids.indexOf(at.region);
    const pending = pendingIn(at.image).find((id) => ids.indexOf(id) > here);
    pending ? go(at.image, pending) : toNextPicture();
  }

  function first() {
    const open = at.state === "open" ? pendingIn(at.image).filter((id) => id !== at.region) : [];
    restart();
    untouched = true;
    if (open.length) return go(at.image, open[0]);
    at = { ...at, state: "waiting" };
  }

  // Other filters. Review may have been pressed before they came here, and meant them.
  function filter() {
    const again = untouched && !writing;
    restart();
    if (again) [at, untouched] = [{ image: 0, region: 0, state: "waiting" }, true]; // what was opened may come again
  }

  // What comes next is another queue.
  function restart() {
    [chain, visited, after, end, wish, untouched] = [[], [], "", false, null, false];
    if (viewing) viewing.stale = true;
  }

  // Nothing is on the screen.
  function close() {
    restart();
    at = { image: 0, region: 0, state: "empty" };
  }

  function choose(region) {
    untouched = false;
    if (at.state === "open" && pictures.get(at.image).regions.some(({ id }) => id === region)) at = { ...at, region };
  }

  // ---------------------------------------------------------------- acting
  function versionOf(id) {
    return versions.get(id ?? PICTURE);
  }

  // What an undo of an act shows again. Words that were kept may be of a picture that is not known yet.
  function before(ask) {
    const found = { status: [], text: [], box: [], picture: {} };
    if (!pictures.has(ask.image)) return found;
    const now = overlay(ask.image), what = OF_REGION[ask.do];
    if (what) found[what] = affected(ask).map((id) => [id, now[what].get(id)]);
    if (OF_PICTURE.includes(ask.do)) found.picture[ask.do] = now[ask.do];
    return found;
  }

  function note(entry) {
    journal = [...journal, entry].slice(-MOST_JOURNAL);
  }

  function add(ask, more = {}) {
    const act = newId();
    const entry = { ask: { ...ask, act }, from: { ...at }, before: before(ask), ...more };
    if (["draw", "describe"].includes(ask.do)) entry.ask.key = act;
    if (ask.do !== "undo") note({ act, image: ask.image, region: more.region ?? ask.id ?? at.region, before: entry.before });
    if (!["undo", "redo"].includes(ask.do)) undone = [];
    acts.push(entry);
    untouched = false;
    message = "";
    return act;
  }

  // A verdict on what is on the screen. Returns the region that it is on, 0 where there is none.
  function judge(status, { region = at.region, follow = true } = {}) {
    if (at.state !== "open" || !region) return 0;
    // what it is already is no act: an undo would otherwise mean that or the one before, as the answer comes
    if (overlay(at.image).status.get(region) !== status) add({ do: "verdict", image: at.image, id: region, version: versionOf(region), status });
    if (follow && !writing && status !== "pending") advance();
    return region;
  }

  function review(state, { follow = true } = {}) {
    if (at.state !== "open") return 0;
    const accepted = [...overlay(at.image).status.values()].includes("accepted");
    const image = at.image;
    if (overlay(image).review !== state) add({ do: "review", image, version: versionOf(), review: state });
    if (follow && !writing && state !== "open" && !(state === "empty" && accepted)) toNextPicture(); // else it will be refused
    return image;
  }

  function remove(region, allOfBox) {
    if (at.state !== "open" || !region) return 0;
    const ids = pictures.get(at.image).regions.map((each) => each.id), here = ids.indexOf(region);
    add({ do: "delete", image: at.image, id: region, version: versionOf(region), whole: allOfBox });
    const { status } = overlay(at.image), left = ids.filter((id) => status.get(id) !== "deleted");
    if (status.get(at.region) === "deleted") at = { ...at, region: left.find((id) => ids.indexOf(id) > here) ?? left[0] ?? 0 };
    return region;
  }

  // Take back what was done last, wherever that was, and go there.
  function undo() {
    const last = journal.pop();
    if (!last) return at.image ? add({ do: "undo", image: at.image }) : "";
    if (last.many) return takeBack(last, "undo");
    const held = acts.find((entry) => entry.ask.act === last.act && entry.conflict);
    if (held) acts = acts.filter((entry) => entry !== held);
    else undone.push({ ...last, after: shownNow(last), undo: add({ do: "undo", image: last.image, undoes: last.act }, { undoes: last.act, restore: last.before }) });
    comeTo(last);
    return last.act;
  }

  // Do again what was undone last, unless something else was done since.
  function redo() {
    const last = undone.pop();
    if (!last) return "";
    if (last.many) return takeBack(last, "redo");
    const act = add({ do: "redo", image: last.image, redoes: last.undo }, { restore: last.after, before: last.before, region: last.region });
    comeTo(last);
    return act;
  }

  function takeBack(entry, what) {
    what === "undo" ? undone.push(entry) : note(entry);
    back = { action: entry.many, back: what };
    return entry.many;
  }

  // Undo an act on many regions that was named, whatever was done since.
  function undoMany(action) {
    journal = journal.filter((entry) => entry.many !== action);
    return takeBack({ many: action }, "undo");
  }

  // What is shown now of all that an act had changed.
  function shownNow({ image, before }) {
    const found = pictures.has(image) ? overlay(image) : null;
    const now = (what) => (found ? before[what].filter(([id]) => found[what].has(id)).map(([id]) => [id, found[what].get(id)]) : []);
    const picture = found ? Object.fromEntries(Object.keys(before.picture).map((what) => [what, found[what]])) : {};
    return { status: now("status"), text: now("text"), box: now("box"), picture };
  }

  const toOpen = (image, region) => ({ unknown: region ? { id: region } : { image } });

  function comeTo({ image, region }) {
    const come = { image: at.image, region: at.region };
    if (!pictures.has(image)) wish = toOpen(image, region);
    else go(image, region);
    if (come.image && come.image !== image) chain = [come, ...chain.filter((each) => each.image !== come.image)];
  }

  // An act on many regions was done: what is known of pictures may be old, and what comes next may be decided.
  function forget() {
    for (const image of pictures.keys()) if (image !== at.image) pictures.delete(image);
    const open = at.state === "open";
    restart();
    if (open) wish = toOpen(at.image, at.region);
  }

  // ---------------------------------------------------------------- what others answer
  const keyOf = (ask) => ask.id ?? PICTURE;

  // What was made of a version that one's own act has replaced is now of the version that it brought.
  function rebase(image, wrote) {
    const waiting = [...acts.filter((entry) => !sent.has(entry.ask.act) && !entry.conflict).map((entry) => entry.ask), ...drafts.values()];
    for (const [id, version] of wrote) {
      const key = id ?? PICTURE;
      for (const ask of waiting) if (ask.image === image && keyOf(ask) === key && ask.version === version - 1) ask.version = version;
      if (shownImage === image && versions.get(key) === version - 1) versions.set(key, version);
      if (id) latest.set(id, Math.max(version, latest.get(id) ?? 0));
    }
  }

  // The page has drawn a picture: these are the versions on the screen from now on.
  function shown(image) {
    const picture = pictures.get(image);
    shownImage = image;
    versions.clear();
    if (!picture) return;
    versions.set(PICTURE, picture.version);
    for (const { id, version } of picture.regions) versions.set(id, version);
  }

  // Keep what the server tells of a picture, unless something newer is known: answers may overtake one another.
  function take(picture) {
    const older = picture.version < (pictures.get(picture.image)?.version ?? 0);
    if (older || picture.regions.some(({ id, version }) => version < (latest.get(id) ?? 0))) return;
    for (const { id, version } of picture.regions) latest.set(id, version);
    pictures.delete(picture.image);
    pictures.set(picture.image, picture);
    const needed = new Set([at.image, ...chain.map((each) => each.image), ...acts.map((entry) => entry.ask.image)]);
    for (const image of pictures.keys()) {
      if (pictures.size <= MOST_PICTURES) break;
      if (!needed.has(image)) pictures.delete(image);
    }
  }

  // What was made of an act since, before its answer: its undo, the redo of that, the undo of the redo, and so on.
  function madeOf(act) {
    const next = acts.find(({ ask }) => [ask.undoes, ask.redoes].includes(act));
    return next ? [next, ...madeOf(next.ask.act)] : [];
  }

  function settle(entry, answer) {
    const { ask } = entry, made = madeOf(ask.act), takenBack = made.length % 2 === 1;
    const wrote = (answer.wrote ?? []).some(([id, version]) => (id ?? PICTURE) !== keyOf(ask) || version !== ask.version);
    if (answer.refused || answer.conflict || !wrote) {
      const gone = new Set([entry, ...made].map((each) => each.ask.act)); // sent on their own they would mean an older act
      acts = acts.filter((each) => each === entry || !gone.has(each.ask.act));
      journal = journal.filter((each) => !gone.has(each.act));
      undone = undone.filter((each) => !gone.has(each.act) && !gone.has(each.undo));
    }
    if (answer.conflict && !takenBack) return void (entry.conflict = { ...answer.conflict, versions: ask.version });
    acts = acts.filter((each) => each !== entry);
    if (answer.conflict) return;
    if (answer.refused) return void (takenBack || (refused = { ask, sentence: answer.refused }));
    message = answer.message ?? "";
    if (answer.made) entry.before?.status.push([answer.made, "deleted"]);
    rebase(ask.image, answer.wrote ?? []);
    const stayed = at.state === "open" && at.image === ask.image && at.region === entry.from.region;
    if (answer.made && stayed && !made.length) wish = { image: ask.image, region: answer.made };
  }

  function answered(answer) {
    if (!answer) return;
    for (const each of [answer, ...(answer.more ?? [])]) {
      const entry = acts.find(({ ask, conflict }) => ask.act === each.asked && !conflict);
      if (entry) settle(entry, each);
      for (const picture of each.pictures ?? []) take(picture);
    }
    if (sent.has(answer.asked)) sent = new Set();
    const asked = viewing?.asked === answer.asked ? viewing : null;
    if (asked) viewing = null;
    if (answer.ahead && asked && !asked.stale) queueUp(answer.ahead);
    if (answer.refused && asked && !asked.stale) refused = { ask: {}, sentence: answer.refused };
    if (answer.refused && asked?.do === "ahead" && !asked.stale) queueUp({ order: [], after, end: true });
    if (answer.go && asked) wish = answer.go;
    follow();
  }

  function queueUp(ahead) {
    [after, end] = [ahead.after, ahead.end];
    for (const [image, region] of ahead.order) {
      const known = image === at.image || visited.includes(image) || chain.some((each) => each.image === image);
      if (!known) chain.push({ image, region });
    }
    if (at.state === "waiting") toNextPicture();
  }

  // Go where somebody wanted to go, once nothing is being written.
  function follow() {
    if (writing || !wish?.image || !pictures.has(wish.image)) return;
    const { image, region } = wish;
    wish = null;
    go(image, region);
  }

  // ---------------------------------------------------------------- what is sent
  const blocks = (one, other) => one.ask.image === other.ask.image && (["undo", "redo"].includes(other.ask.do) || keyOf(one.ask) === keyOf(other.ask));

  // The first act that waits for nothing, once; null while an answer is awaited. Quick verdicts go together, each on a
  // region of its own, in their order.
  function nextAct() {
    if (sent.size) return null;
    const held = acts.filter((entry) => entry.conflict);
    const free = (each) => !each.conflict && !held.some((other) => acts.indexOf(other) < acts.indexOf(each) && blocks(other, each));
    const first = acts.find(free);
    if (!first) return null;
    const out = [first];
    for (const each of first.ask.do === "verdict" ? acts.slice(acts.indexOf(first) + 1) : []) {
      if (out.length >= TOGETHER || each.ask.do !== "verdict" || !free(each) || out.some((other) => keyOf(other.ask) === keyOf(each.ask))) break;
      out.push(each);
    }
    sent = new Set(out.map(({ ask }) => ask.act));
    const more = out.slice(1).map(({ ask }) => ({ ...ask }));
    return { ...first.ask, ...(more.length ? { more } : {}) };
  }

  function nextView() {
    if (viewing) return null;
    if (wish?.unknown) return ask({ do: "open", ...wish.unknown });
    if (at.state === "empty" || end || chain.length > AHEAD - IN_ANSWER) return null;
    const skip = new Set([at.image, ...visited, ...chain.map((each) => each.image), ...acts.map((entry) => entry.ask.image)]);
    const count = at.state === "waiting" ? 1 : IN_ANSWER;
    return ask({ do: "ahead", after, count, skip: [...skip].filter(Boolean) });
  }

  function ask(wanted) {
    viewing = { asked: newId(), do: wanted.do, wish: wanted.do === "open" ? wish : null };
    if (viewing.wish) wish = null;
    return { ...wanted, asked: viewing.asked };
  }

  // Nothing came back: the same is sent again, under the same name.
  function actFailed(act) {
    if (sent.has(act)) sent = new Set();
  }
  function viewFailed(asked) {
    if (viewing?.asked !== asked) return;
    wish ??= viewing.wish;
    viewing = null;
  }

  // ---------------------------------------------------------------- conflicts and what is kept
  function resolve(act, mine) {
    const entry = acts.find((each) => each.ask.act === act && each.conflict);
    if (!entry) return;
    if (!mine) return void (acts = acts.filter((each) => each !== entry));
    const { version } = entry.conflict, old = entry.ask.version;
    entry.conflict = null;
    for (const each of acts.slice(acts.indexOf(entry))) {
      if (each.ask.image === entry.ask.image && keyOf(each.ask) === keyOf(entry.ask) && each.ask.version === old) each.ask.version = version;
    }
  }

  // ---------------------------------------------------------------- what the page reads
  function view() {
    const picture = pictures.get(at.image) ?? null, held = acts.filter((entry) => entry.conflict);
    const conflicts = held.map(({ ask, conflict }) => ({ act: ask.act, panel: conflict.panel }));
    return { at, picture, overlay: picture && overlay(at.image), conflicts, unsaved: acts.length, ahead: chain.length, message };
  }

  // The verdicts of all descriptions that are known: a description's id -> its status and text, where that was changed.
  function statuses() {
    const found = new Map();
    for (const image of pictures.keys()) {
      const { status, text } = overlay(image);
      for (const [id, each] of status) found.set(id, { status: each, text: text.get(id) });
    }
    return found;
  }

  // Why the last act could not be done, once.
  function refusal() {
    const found = refused;
    refused = null;
    return found;
  }

  // An act on many regions that is to be undone or redone, once.
  function manyBack() {
    const found = back;
    back = null;
    return found;
  }

  return {
    ...{ next, first, filter, close, choose, judge, review, remove, undo, redo, undoMany, add, resolve, forget, manyBack },
    ...{ shown, answered, nextAct, nextView, actFailed, viewFailed, drafts, versionOf },
    open: (unknown) => ([wish, untouched] = [{ unknown }, false]),
    write: (now) => ((writing = now), follow()),
    restore: (kept) => (acts = [...kept.map((ask) => ({ ask, from: {} })), ...acts]),
    unsaved: () => acts.map((entry) => entry.ask),
    noteMany: (action) => ((undone = []), note({ many: action })),
    refusal,
    statuses,
    view,
  };
}
