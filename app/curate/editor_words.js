// Words that the data set has already, offered under a field while a person writes: arrows choose, Enter or a press takes.
const MOST_OFFERED = 7;

// The texts that go on what is typed, else those whose words begin with all words that are typed; the order is that of texts.
function matchingTexts(texts, typed, most = MOST_OFFERED) {
  const wanted = typed.trim().toLowerCase(), words = wanted.split(/\s+/);
  if (!wanted) return [];
  const beginning = [], within = [];
  for (const text of texts) {
    const lower = text.toLowerCase(), parts = lower.split(/[^\p{L}\p{N}]+/u);
    if (lower === wanted) continue;
    if (lower.startsWith(wanted)) beginning.push(text);
    else if (words.every((word) => parts.some((part) => part.startsWith(word)))) within.push(text);
    if (beginning.length >= most) break;
  }
  return [...beginning, ...within].slice(0, most);
}

let offering = null; // { field, list, at }: the texts under a field, and the one that is chosen
const ownWords = []; // written in this sitting, the last one last
const lastWords = () => ownWords.at(-1) ?? "";

function noteWords(text) {
  const tidy = text.trim().replace(/\s+/g, " ");
  if (!tidy) return;
  if (ownWords.includes(tidy)) ownWords.splice(ownWords.indexOf(tidy), 1);
  ownWords.push(tidy);
}

function offerWords(field) {
  const texts = matchingTexts([...ownWords.toReversed(), ...(session.texts ?? []).filter((each) => !ownWords.includes(each))], field.value);
  closeWords();
  if (!texts.length) return;
  const list = document.createElement("ul"), { left, bottom, width } = field.getBoundingClientRect();
  list.className = "offered";
  list.setAttribute("role", "listbox");
  list.append(...texts.map((text) => Object.assign(document.createElement("li"), { textContent: text, role: "option" })));
  Object.assign(list.style, { left: `${left}px`, top: `${bottom + 2}px`, minWidth: `${width}px` });
  stage.append(list);
  offering = { field, list, at: -1 };
}

function closeWords() {
  offering?.list.remove();
  offering = null;
}

function moveOffer(step) {
  const items = [...offering.list.children];
  offering.at = (offering.at + step + items.length + 1) % (items.length + 1);
  if (offering.at === items.length) offering.at = -1; // none of them: what is typed
  items.forEach((item, index) => item.setAttribute("aria-selected", String(index === offering.at)));
}

function takeOffer(index) {
  const { field, list } = offering, { textContent } = list.children[index];
  closeWords();
  field.value = textContent;
  field.dispatchEvent(new InputEvent("input", { bubbles: true, inputType: "insertReplacementText" }));
}

const WORDED = ".text input, .prompt input";
element.addEventListener("input", (event) => {
  if (!event.target.matches(WORDED)) return;
  event.inputType === "insertReplacementText" ? closeWords() : offerWords(event.target);
});
element.addEventListener("focusout", closeWords);
// before those of the fields: Enter takes what is chosen, and then saves it as ever
element.addEventListener("keydown", (event) => {
  if (!offering || event.target !== offering.field) return;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") event.preventDefault(), moveOffer(event.key === "ArrowDown" ? 1 : -1);
  else if (event.key === "Tab" && !event.shiftKey) event.preventDefault(), event.stopPropagation(), takeOffer(Math.max(0, offering.at));
  else if (event.key === "Enter") offering.at >= 0 ? takeOffer(offering.at) : closeWords();
  else if (event.key === "Escape") event.stopPropagation(), closeWords();
}, true);
element.addEventListener("pointerdown", (event) => {
  const item = event.target.closest(".offered li");
  if (!item) return;
  event.preventDefault(); // the field keeps the focus
  event.stopPropagation();
  takeOffer([...item.parentNode.children].indexOf(item));
}, true);
