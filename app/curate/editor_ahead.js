// Pictures are fetched before their turn, and drawn as the elements that hold them already.
const MOST_FETCHED = 80;
const fetched = new Map(); // the address of a picture -> its element

function fetchAhead(pictures) {
  for (const { uri } of pictures.filter((each) => each.uri)) {
    const image = fetched.get(uri) ?? Object.assign(new Image(), { src: uri, onerror: () => fetched.delete(uri) }); // tried again in its turn
    fetched.delete(uri);
    fetched.set(uri, image); // the last one last
  }
  for (const uri of fetched.keys()) if (fetched.size > MOST_FETCHED) fetched.delete(uri);
}

// Put the element of a picture that is here into a panel that is to be drawn.
function placeFetched(uri, fresh) {
  const image = fetched.get(uri), place = fresh.querySelector(".frame img");
  if (image) place.replaceWith(Object.assign(image, { alt: place.alt, draggable: false }));
}
