const view = document.querySelector(".view"), image = view.querySelector("img");
const reading = document.querySelector("output");
let scale = 1, x = 0, y = 0, from = null, moved = false;

// The picture, so many times as large as the view, with its corner at (x, y); it never leaves the view.
function show(toScale, toX, toY) {
  scale = Math.min(16, Math.max(1, toScale));
  x = Math.min(0, Math.max(toX, view.clientWidth * (1 - scale)));
  y = Math.min(0, Math.max(toY, view.clientHeight * (1 - scale)));
  image.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
  view.classList.toggle("zoomed", scale > 1);
  reading.textContent = `${Math.round(100 * scale)}%`;
}

// What is at (px, py) of the view stays there.
function zoom(factor, px = view.clientWidth / 2, py = view.clientHeight / 2) {
  const by = Math.min(16, Math.max(1, scale * factor)) / scale;
  show(scale * by, px - (px - x) * by, py - (py - y) * by);
}

function at(event) {
  const box = view.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

view.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-0.002 * event.deltaY), ...at(event));
}, { passive: false });
view.addEventListener("pointerdown", (event) => {
  from = [event.clientX - x, event.clientY - y];
  moved = false;
  view.setPointerCapture(event.pointerId);
});
view.addEventListener("pointermove", (event) => {
  if (!from) return;
  moved ||= Math.hypot(event.clientX - x - from[0], event.clientY - y - from[1]) > 4;
  if (moved) show(scale, event.clientX - from[0], event.clientY - from[1]);
});
for (const end of ["pointerup", "pointercancel"]) view.addEventListener(end, () => { from = null; });
view.addEventListener("click", (event) => { if (!moved && scale === 1) zoom(2, ...at(event)); });
view.addEventListener("dblclick", () => show(1, 0, 0));
for (const button of document.querySelectorAll("[data-zoom]")) {
  button.addEventListener("click", () => zoom(Number(button.dataset.zoom)));
}
view.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
  const zooms = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, "0": 0, Escape: 0 };
  if (event.key in moves) show(scale, x + moves[event.key][0], y + moves[event.key][1]);
  else if (event.key in zooms) zoom(zooms[event.key]);
  else return;
  event.preventDefault();
});
addEventListener("resize", () => show(scale, x, y));
image.decode().then(() => { view.style.aspectRatio = `${image.naturalWidth} / ${image.naturalHeight}`; });
