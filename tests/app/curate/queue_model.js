// Feed the editor's queue random acts from a seed, with a server that loses, doubles and delays answers, and compare what
// the server has at the end with a plain model that was fed the same acts. others: another person edits as well.
function chance(seed) {
  let state = seed + 1;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

// A server with pictures of a few regions. It writes an act once for each name, under the version that was seen.
class QueueServer {
  constructor(pictures, regions) {
    this.pictures = new Map();
    this.done = new Map();
    this.history = [];
    this.ids = 0;
    for (let image = 1; image <= pictures; image++) {
      const rows = Array.from({ length: regions }, () => ({ id: ++this.ids, box: this.ids, version: 1, status: "pending", text: "", xyxy: 0, foreign: 0 }));
      this.pictures.set(image, { image, version: 1, review: "open", caption: "", facts: {}, rows });
    }
  }

  row = (image, id) => this.pictures.get(image).rows.find((row) => row.id === id);

  picture(image) {
    const { rows, ...rest } = this.pictures.get(image);
    return structuredClone({ ...rest, panel: "", regions: rows.filter((row) => row.status !== "deleted") });
  }

  write(ask, target, id, change) {
    const before = Object.fromEntries(Object.keys(change).map((name) => [name, target[name]]));
    if (Object.entries(change).every(([name, value]) => target[name] === value)) return [];
    Object.assign(target, change).version += 1;
    this.history.push({ act: ask.act, image: ask.image, target, before, after: change, undone: false });
    return [[id, target.version]];
  }

  edit(ask) {
    const answer = (more) => ({ asked: ask.act, pictures: [this.picture(ask.image)], wrote: [], ...more });
    if (this.done.has(ask.act)) return answer(this.done.get(ask.act));
    const picture = this.pictures.get(ask.image), target = ask.id ? this.row(ask.image, ask.id) : picture;
    const changes = { verdict: { status: ask.status }, text: { text: ask.text }, delete: { status: "deleted" }, review: { review: ask.review }, box: { xyxy: ask.box }, caption: { caption: ask.text } };
    const soAlready = Object.entries(changes[ask.do] ?? { made: true }).every(([name, value]) => target[name] === value); // two who agree
    if (ask.version !== undefined && target.version !== ask.version && !soAlready) return answer({ conflict: { version: target.version, panel: "" } });
    let found = {};
    if (ask.do === "undo") {
      const last = this.history.find((each) => each.act === ask.undoes && !each.undone);
      const same = last && Object.entries(last.after).every(([name, value]) => last.target[name] === value);
      if (same) last.undone = true, (last.undo = ask.act), (found = { wrote: [[last.target.id ?? null, (Object.assign(last.target, last.before).version += 1)]] });
    } else if (ask.do === "redo") {
      const last = this.history.find((each) => each.undo === ask.redoes && !each.redone);
      const same = last && Object.entries(last.before).every(([name, value]) => last.target[name] === value);
      if (same) {
        last.redone = true;
        Object.assign(last.target, last.after).version += 1;
        this.history.push({ act: ask.act, image: ask.image, target: last.target, before: last.before, after: last.after, undone: false });
        found = { wrote: [[last.target.id ?? null, last.target.version]] };
      }
    } else if (ask.do === "draw") {
      const row = { id: ++this.ids, box: this.ids, version: 1, status: "accepted", text: ask.text, xyxy: ask.box, foreign: 0 };
      picture.rows.push(row);
      this.history.push({ act: ask.act, image: ask.image, target: row, before: { status: "deleted" }, after: { status: "accepted" }, undone: false });
      found = { wrote: [[row.id, 1]], made: row.id };
    } else found = { wrote: this.write(ask, target, ask.id ?? null, changes[ask.do]) };
    this.done.set(ask.act, found);
    return answer(found);
  }

  view(ask) {
    if (ask.do === "open") {
      const found = [...this.pictures.values()].find((each) => each.rows.some((row) => row.id === ask.id));
      return { asked: ask.asked, pictures: [this.picture(found.image)], go: { image: found.image, region: ask.id } };
    }
    const known = new Set(ask.skip), images = [...this.pictures.keys()];
    const pending = (image) => this.pictures.get(image).rows.filter((row) => row.status === "pending");
    const left = images.filter((image) => !known.has(image) && pending(image).length), order = left.slice(0, ask.count);
    return { asked: ask.asked, pictures: order.map((image) => this.picture(image)), ahead: { order: order.map((image) => [image, pending(image)[0].id]), after: "", end: left.length <= ask.count } };
  }
}

function runQueue(seed, { others = false, steps = 400 } = {}) {
  const random = chance(seed), pick = (list) => list[Math.floor(random() * list.length)];
  let names = 0, typing = null, shown = null;
  const queue = editorQueue(() => `name${++names}`), server = new QueueServer(25, 4), first = server.ids;
  const wires = { edit: [], view: [] }, back = []; // questions on their way there, answers on their way back
  const undoing = new Map(); // an undo -> the act that it was meant for
  const model = new Map(), undos = [], redos = [], seen = new Map(), faults = [], chosen = new Set(), counts = { acts: 0, conflicts: 0, lost: 0, redone: 0, together: 0 };
  const FIRST = { review: "open", text: "", caption: "", box: 0 };
  const get = (key) => model.get(key) ?? FIRST[key.split(" ")[0]] ?? "pending";
  const set = (key, value) => (undos.push([key, get(key)]), (redos.length = 0), model.set(key, value));
  const foreign = (id) => shown?.regions.find((row) => row.id === id)?.foreign ?? 0;

  const draw = () => {
    const { at, picture } = queue.view();
    if (typing) return;
    queue.write(false);
    const now = queue.view();
    shown = now.at.state === "open" ? structuredClone(now.picture) : null;
    queue.shown(shown?.image ?? 0);
    if (!others && shown) look(now);
  };
  // What is on the screen is what was done, whatever was answered so far.
  const look = ({ overlay, picture }) => {
    const seen = [["review", picture.image, overlay.review], ["caption", picture.image, overlay.caption]];
    for (const { id } of picture.regions.filter((row) => row.id <= first)) for (const what of ["status", "text", "box"]) seen.push([what, id, overlay[what].get(id)]);
    const there = [...overlay.drawn, ...picture.regions.filter((row) => row.id > first && overlay.status.get(row.id) !== "deleted")];
    for (const { text } of there) if (get(`drawn ${text}`) === "deleted") faults.push(`${text} is shown, and was undone`);
    for (const [what, id, now] of seen) if (now !== get(`${what} ${id}`)) faults.push(`${what} ${id} is shown as ${now}, not ${get(`${what} ${id}`)}`);
  };
  const acted = (doing) => {
    const before = new Set(queue.unsaved().map((ask) => ask.act)), region = doing();
    const made = queue.unsaved().filter((ask) => !before.has(ask.act));
    for (const ask of made) if (ask.id) seen.set(ask.act, foreign(ask.id));
    counts.acts += made.length;
    return made[0] ?? null;
  };
  const plain = () => queue.view().at.region <= first; // of those that were there: the model knows a drawn one by its words
  const deleted = (id) => get(`status ${id}`) === "deleted";

  const moves = {
    judge() {
      if (!plain()) return;
      const { at } = queue.view(), status = pick(["accepted", "rejected"]);
      const made = acted(() => queue.judge(status));
      if (made && made.id !== at.region) faults.push(`a verdict for ${at.region} went to ${made.id}`);
      if (made) set(`status ${made.id}`, status);
    },
    next: () => queue.next(),
    open: () => queue.open({ id: pick((server.pictures.get(random() < 0.7 ? shown?.image : 0) ?? pick([...server.pictures.values()])).rows).id }),
    choose: () => shown && queue.choose(pick(shown.regions.filter((row) => !deleted(row.id)))?.id),
    remove() {
      if (!plain()) return;
      const { at } = queue.view(), made = acted(() => queue.remove(at.region, false));
      if (made) set(`status ${made.id}`, "deleted");
    },
    review() {
      const state = pick(["reviewed", "open"]), made = acted(() => queue.review(state));
      if (made) set(`review ${made.image}`, state);
    },
    resize() {
      const { at } = queue.view();
      if (at.state !== "open" || !at.region || !plain()) return;
      const made = acted(() => queue.add({ do: "box", image: at.image, id: at.region, version: queue.versionOf(at.region), box: ++names }));
      set(`box ${made.id}`, made.box);
    },
    caption() {
      const { at } = queue.view();
      if (at.state !== "open") return;
      const made = acted(() => queue.add({ do: "caption", image: at.image, version: queue.versionOf(), text: `caption ${++names}` }));
      set(`caption ${made.image}`, made.text);
    },
    type() {
      const { at } = queue.view();
      if (typing || at.state !== "open" || !at.region || !plain()) return;
      typing = { do: "text", image: at.image, id: at.region, version: queue.versionOf(at.region), foreign: foreign(at.region) };
      queue.drafts.set("typing", typing);
      queue.write(true);
    },
    commit() {
      if (!typing) return;
      const { foreign: known, ...ask } = typing, text = `words ${++names}`;
      typing = null;
      queue.drafts.delete("typing");
      const made = acted(() => queue.add({ ...ask, text }));
      seen.set(made.act, known);
      set(`text ${made.id}`, text);
    },
    draw() {
      const { at } = queue.view();
      if (at.state !== "open") return;
      const made = acted(() => queue.add({ do: "draw", image: at.image, box: [0, 0, 1, 1], text: `box ${++names}` }));
      set(`drawn ${made.text}`, "accepted");
    },
    undo() {
      if (!undos.length) return;
      let meant = "";
      const made = acted(() => (meant = queue.undo()));
      if (made) undoing.set(made.act, meant);
      const [key, before] = undos.pop();
      redos.push([key, get(key)]);
      model.set(key, key.startsWith("drawn") ? "deleted" : before);
    },
    redo() {
      if (!redos.length) return;
      const made = acted(() => queue.redo()), [key, after] = redos.pop();
      if (!made && !others) faults.push(`nothing was redone of ${key}`);
      counts.redone += 1;
      undos.push([key, get(key)]);
      model.set(key, after);
    },
    other() {
      const row = pick(pick([...server.pictures.values()]).rows);
      Object.assign(row, { text: `theirs ${++names}`, version: row.version + 1, foreign: row.foreign + 1 });
    },
    resolve() {
      for (const { act } of queue.view().conflicts) {
        counts.conflicts += 1;
        const mine = random() < 0.5;
        if (mine) for (const ask of queue.unsaved()) chosen.add(ask.act); // those behind it go with it
        queue.resolve(act, mine);
      }
    },
    deliver: () => deliver(0.15),
  };

  function ask() {
    for (const [what, next] of [["edit", queue.nextAct], ["view", queue.nextView]]) {
      const wanted = next();
      if (wanted) wires[what].push(wanted);
    }
  }
  function deliver(lost) {
    if (back.length && random() < 0.5) {
      const { answer, fails } = back.splice(Math.floor(random() * back.length), 1)[0]; // one may overtake another
      if (random() < lost / 2) return (counts.lost += 1), fails(); // it did not come back
      queue.answered(answer);
      if (random() < lost) queue.answered(structuredClone(answer)); // and once more
      return;
    }
    const what = pick(["edit", "edit", "view"]), wanted = wires[what].shift();
    if (!wanted) return;
    const fails = what === "edit" ? () => queue.actFailed(wanted.act) : () => queue.viewFailed(wanted.asked);
    if (random() < lost / 2) return (counts.lost += 1), fails(); // it did not come there
    const answer = what === "edit" ? editAll(wanted) : server.view(wanted);
    back.push({ answer: structuredClone(answer), fails });
  }
  // What goes together is done one after the other, and answered together.
  function editAll({ more = [], ...first }) {
    counts.together = Math.max(counts.together, 1 + more.length);
    const [answer, ...answers] = [first, ...more].map(edit);
    return { ...answer, more: answers };
  }
  function edit(wanted) {
    if (wanted.id && !server.done.has(wanted.act) && server.row(wanted.image, wanted.id).version === wanted.version) {
      const row = server.row(wanted.image, wanted.id);
      if (row.foreign !== seen.get(wanted.act) && !chosen.has(wanted.act)) faults.push(`${wanted.act} overwrote what somebody else wrote`);
    }
    const undoes = undoing.get(wanted.act);
    if (undoes && !server.done.has(wanted.act) && !server.done.has(undoes)) faults.push(`${undoes} was undone before it was done`);
    const answer = server.edit(wanted);
    if (answer.conflict && !others) faults.push(`a conflict with oneself: ${JSON.stringify(wanted)}`);
    return answer;
  }

  queue.first();
  const usual = ["judge", "judge", "judge", "judge", "next", "open", "open", "choose", "choose", "remove", "review", "resize", "caption", "type", "commit", "draw", "undo", "undo", "redo", "deliver", "deliver", "deliver", "deliver", "deliver"];
  for (let step = 0; step < steps; step++) {
    const move = pick(others ? [...usual, "other", "other", "resolve"] : usual);
    if (!typing || ["commit", "deliver", "other"].includes(move)) moves[move]();
    draw();
    ask();
  }
  moves.commit();
  for (let step = 0; step < 20_000 && queue.view().unsaved; step++) draw(), moves.resolve(), ask(), deliver(0);
  if (queue.view().unsaved) faults.push(`${queue.view().unsaved} acts are not saved`);
  if (!others) compare(server, model, get, faults);
  const acts = server.history.map((each) => each.act);
  if (new Set(acts).size !== acts.length) faults.push("an act counted twice");
  return { faults, ...counts, saved: server.done.size };
}

function compare(server, model, get, faults) {
  for (const { image, review, caption, rows } of server.pictures.values()) {
    if (caption !== get(`caption ${image}`)) faults.push(`picture ${image} says ${caption}, not ${get(`caption ${image}`)}`);
    if (review !== get(`review ${image}`)) faults.push(`picture ${image} is ${review}, not ${get(`review ${image}`)}`);
    for (const { id, status, text, xyxy } of rows) {
      const drawn = text.startsWith("box ") ? model.get(`drawn ${text}`) : undefined;
      const wanted = model.has(`status ${id}`) ? get(`status ${id}`) : (drawn ?? "pending");
      if (status !== wanted) faults.push(`region ${id} is ${status}, not ${wanted}`);
      if (drawn === undefined && xyxy !== get(`box ${id}`)) faults.push(`region ${id} lies at ${xyxy}, not ${get(`box ${id}`)}`);
      if (drawn === undefined && text !== get(`text ${id}`)) faults.push(`region ${id} says ${text}, not ${get(`text ${id}`)}`);
    }
  }
}
