"""Figures and tables as self-contained pages: zoomable pictures, files to download.

Snakemake's report shows them in a frame; a browser shows them alone. Everything is inside, as ``data:`` addresses.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Collection, Mapping
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any

from ayt.reporting.escapes import menu

if TYPE_CHECKING:
    import pandas as pd

TYPES = {
    "png": "image/png",
    "pdf": "application/pdf",
    "csv": "text/csv;charset=utf-8",
    "md": "text/markdown;charset=utf-8",
    "tex": "application/x-tex;charset=utf-8",
}
NAMES = {"png": "PNG", "pdf": "PDF", "csv": "CSV", "md": "Markdown", "tex": "LaTeX"}


def menu_entries(titles: Mapping[str, str]) -> dict[str, str]:
    """Menu entries of figures or tables, by name: the title, with the name added if two have the same.

    Brackets are replaced, see `escapes.menu`.
    """
    counts = Counter(titles.values())
    shown = {name: title if counts[title] == 1 else f"{title} ({name})" for name, title in titles.items()}
    return {name: menu(shown[name] if title else name) for name, title in titles.items()}


def read_part(file: str) -> str:
    """The text of a file that lies beside this module."""
    return resources.files(__name__).joinpath(file).read_text(encoding="utf-8")


def figure_page(name: str, title: str, caption: str, seen: str, picture: bytes, files: Mapping[str, bytes]) -> str:
    """The page of a figure: its picture, which wheel, buttons and keys zoom, its caption, and its files.

    Args:
        name: of the files, without ending.
        title: of the figure; empty: its name.
        caption: as plain text.
        seen: a description of the picture, for those who cannot see it.
        picture: a PNG; what the page says in text need not be in it.
        files: what can be downloaded, by their endings.
    """
    content = read_part("figure.html").format(
        picture=_address("png", picture),
        seen=escape(seen),
        caption=escape(caption),
        downloads=_downloads(name, files),
        script=read_part("figure.js"),
    )
    return _page(title or name, content, "figure.css")


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
    content = read_part("table.html").format(
        head=head,
        rows=rows,
        caption=escape(caption),
        downloads=_downloads(name, {ending: text.encode() for ending, text in files.items()}),
    )
    return _page(title or name, content, "table.css")


def index_page(title: str, links: Mapping[str, Mapping[str, str]], missing: Collection[str]) -> str:
    """A page with links to other pages.

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
    return _page(title, "\n".join(parts))


def _page(title: str, content: str, *styles: str) -> str:
    style = "".join(map(read_part, ("page.css", *styles)))
    return read_part("page.html").format(title=escape(title), style=style, content=content)


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
