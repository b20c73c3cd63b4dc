// A page's list of keys, for `?`: [key, what it does] each.
function keysDialog(keys) {
  const help = document.createElement("dialog");
  help.className = "keys-dialog";
  help.innerHTML = `<h2>Keys</h2><dl>${keys.map(([key, what]) => `<dt><kbd>${key}</kbd></dt><dd>${what}</dd>`).join("")}</dl>
<form method="dialog"><button>Close</button></form>`;
  document.querySelector(".gradio-container").append(help);
  return help;
}
