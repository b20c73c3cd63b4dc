// A page's list of keys, for `?`: [key, what it does] each.
function keysDialog(keys) {
  const help = document.createElement("dialog");
  help.className = "keys-dialog";
  help.innerHTML = `<h2>Keys</h2><dl>${keys.map(([key, what]) => `<dt><kbd>${key}</kbd></dt><dd>${what}</dd>`).join("")}</dl>
<form method="dialog"><button>Close</button></form>`;
  document.querySelector(".gradio-container").append(help);
  return help;
}

// One act at a time: what is pressed while an answer is awaited would be about what is about to go, so it means nothing.
// `element` shows that by aria-busy. "answered" comes from events.py when an act has ended, well or not.
function oneAtATime(element, act) {
  document.addEventListener("answered", () => element.removeAttribute("aria-busy"));
  return (wanted) => {
    if (element.hasAttribute("aria-busy")) return;
    element.setAttribute("aria-busy", "true");
    act(wanted);
  };
}
