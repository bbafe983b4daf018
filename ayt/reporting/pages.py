"""Figures and tables as pages that need nothing else: pictures to zoom into, files to download.

Snakemake's report shows them in a frame; a browser shows them alone. Everything is inside, as ``data:`` addresses.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Collection, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

TYPES = {
    "png": "image/png",
    "pdf": "application/pdf",
    "csv": "text/csv;charset=utf-8",
    "md": "text/markdown;charset=utf-8",
    "tex": "application/x-tex;charset=utf-8",
}
BRACES = str.maketrans("{}", "()")
NAMES = {"png": "PNG", "pdf": "PDF", "csv": "CSV", "md": "Markdown", "tex": "LaTeX"}

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{content}
</main>
</body>
</html>
"""

STYLE = """\
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #1a202c; font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 1.2rem 1.6rem; }
h1 { margin: 0 0 .8rem; font-size: 1.25rem; font-weight: 600; line-height: 1.3; }
figure { margin: 0; }
figcaption { max-width: 75em; margin: .8rem 0; color: #4a5568; font-size: .9rem; }
.downloads a, button { display: inline-block; padding: .2rem .75rem; border: 1px solid #cbd5e0; border-radius: .35rem;
  background: #f7fafc; color: inherit; font: inherit; font-size: .85rem; text-decoration: none; cursor: pointer; }
.downloads a:hover, button:hover { border-color: #0072b2; color: #0072b2; }
a:focus-visible, button:focus-visible, .view:focus-visible { outline: 2px solid #0072b2; outline-offset: 1px; }
"""

FIGURE_STYLE = """\
main { display: flex; flex-direction: column; height: 100vh; min-height: 30rem; }
figure { flex: 0 1 auto; display: flex; flex-direction: column; min-height: 0; }
.view { flex: 0 1 auto; min-height: 0; overflow: hidden; cursor: zoom-in; }
.view.zoomed { cursor: grab; touch-action: none; }
.view img { display: block; width: 100%; height: 100%; object-fit: contain; object-position: 0 0;
  transform-origin: 0 0; user-select: none; }
.zoom { display: flex; align-items: center; gap: .4rem; margin-top: .6rem; color: #4a5568; font-size: .85rem; }
.zoom output { min-width: 3.5em; text-align: center; }
"""

TABLE_STYLE = """\
.wide { overflow-x: auto; }
table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; }
th, td { padding: .35rem 1rem; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { padding-left: .4rem; text-align: left; }
th { border-bottom: 1px solid; font-weight: 600; }
tbody tr:hover { background: #edf2f7; }
"""

VIEW = """\
<figure>
<div class="view" tabindex="0"><img src="{picture}" alt="{title}" draggable="false"></div>
<div class="zoom" role="group" aria-label="zoom">
<button type="button" data-zoom="1.5" aria-label="zoom in">+</button>
<button type="button" data-zoom="0.6667" aria-label="zoom out">−</button>
<button type="button" data-zoom="0">whole</button>
<output>100%</output>
<span>wheel or click to zoom, drag to move, double click for the whole</span>
</div>
<figcaption>{caption}</figcaption>
</figure>
{downloads}
<script>
{script}</script>"""

TABLE = """\
<figure>
<div class="wide" tabindex="0">
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
<figcaption>{caption}</figcaption>
</figure>
{downloads}"""

SCRIPT = """\
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
"""


def listed(titles: Mapping[str, str]) -> dict[str, str]:
    """What a menu calls figures or tables, by their names: the title, with the name where two have the same.

    Braces become parentheses: Snakemake would take them for wildcards.
    """
    counts = Counter(titles.values())
    shown = {name: title if counts[title] == 1 else f"{title} ({name})" for name, title in titles.items()}
    return {name: (shown[name] if title else name).translate(BRACES) for name, title in titles.items()}


def figure_page(name: str, title: str, caption: str, picture: bytes, files: Mapping[str, bytes]) -> str:
    """The page of a figure: its picture, which wheel, buttons and keys zoom, its caption, and its files.

    Args:
        name: of the files, without ending.
        title: of the figure; empty: its name.
        caption: as plain text.
        picture: a PNG; what the page says in text need not be in it.
        files: what can be downloaded, by their endings.
    """
    content = VIEW.format(
        picture=_address("png", picture),
        title=escape(title or name),
        caption=escape(caption),
        downloads=_downloads(name, files),
        script=SCRIPT,
    )
    return PAGE.format(title=escape(title or name), style=STYLE + FIGURE_STYLE, content=content)


def table_page(
    name: str,
    title: str,
    caption: str,
    cells: pd.DataFrame,
    best: Collection[tuple[Any, Any]],
    files: Mapping[str, str],
) -> str:
    """The page of a table: its cells, its caption, and its files.

    Args:
        name: of the files, without ending.
        title: of the table; empty: its name.
        caption: as plain text.
        cells: texts; the index is the first column.
        best: row and column of the cells that are bold.
        files: what can be downloaded, by their endings.
    """
    head = "".join(f'<th scope="col">{escape(str(column))}</th>' for column in ["method", *cells.columns])
    rows = "\n".join(f"<tr>{_row(label, row, best)}</tr>" for label, row in cells.iterrows())
    content = TABLE.format(
        head=head,
        rows=rows,
        caption=escape(caption),
        downloads=_downloads(name, {ending: text.encode() for ending, text in files.items()}),
    )
    return PAGE.format(title=escape(title or name), style=STYLE + TABLE_STYLE, content=content)


def index_page(title: str, links: Mapping[str, Mapping[str, str]], missing: Collection[str]) -> str:
    """A page that leads to other pages.

    Args:
        title: of the page.
        links: for each folder beside the page, the names of its pages without ending, and their titles.
        missing: what is said to be missing, a line each.
    """
    parts = []
    for folder, pages in links.items():
        items = [f'<li><a href="{folder}/{escape(name)}.html">{escape(text)}</a></li>' for name, text in pages.items()]
        parts.append(f"<h2>{folder.capitalize()}</h2>\n<ul>\n{''.join(items)}\n</ul>")
    if missing:
        parts.append(f"<h2>Not there yet</h2>\n<ul>\n{''.join(f'<li>{escape(text)}</li>' for text in missing)}\n</ul>")
    return PAGE.format(title=escape(title), style=STYLE, content="\n".join(parts))


def _row(label: Any, row: pd.Series[Any], best: Collection[tuple[Any, Any]]) -> str:
    cells = [f"<td>{escape(str(label))}</td>"]
    for column, value in row.items():
        text = escape(str(value))
        cells.append(f"<td><b>{text}</b></td>" if (label, column) in best else f"<td>{text}</td>")
    return "".join(cells)


def _downloads(name: str, files: Mapping[str, bytes]) -> str:
    """Links that save the files under the names they have on disk."""
    links = [
        f'<a download="{escape(name)}.{ending}" href="{_address(ending, content)}">{NAMES[ending]}</a>'
        for ending, content in files.items()
    ]
    return f'<div class="downloads">Download {" ".join(links)}</div>'


def _address(ending: str, content: bytes) -> str:
    return f"data:{TYPES[ending]};base64,{b64encode(content).decode()}"
