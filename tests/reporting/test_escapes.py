"""Labels and titles are shown as they are, wherever they go: in figures, LaTeX, Markdown, spreadsheets, the report."""

import shutil
import subprocess
from html import unescape
from io import BytesIO

import pandas as pd
import pytest
from docutils.core import publish_doctree
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import Environment
from markdown_it import MarkdownIt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from pydantic import TypeAdapter, ValidationError
from test_figures import table

from ayt.base.sections import Line
from ayt.reporting import about, escapes, latex
from ayt.reporting.figures.final import draw_final
from ayt.reporting.fonts import use_fonts_with_all_characters
from ayt.reporting.pages import menu_entries
from ayt.reporting.tables.scores import tabulate_scores

HARD = [
    r"$\huber_{c}$",
    "Ba$$in",
    "*starred* [4pt] & 50% #1 _x_ ~^",
    "η, Δ, Ω and ς − ⁻¹ ∞ √2 x² ₂ é ñ Łódź ½ ﬁ",
    "中文 🙂 ħ Ж",
    "=1+1",
    "+ MFD",
    "@a",
    "-1",
    "'=1",
    "1. one",
    "# head",
    ".. include:: /etc/passwd",
    "</script><script>alert(1)</script>",
    "{{ 7 * 7 }} {% x %} {# y #}",
    "`code` |sub| [1]_ <b> a\\b &amp;",
    "_hidden",
    '?` !` << -- "quoted"',
]


def accepted(text):
    try:
        return bool(TypeAdapter(Line).validate_python(text))
    except ValidationError:
        return False


LINES = st.sampled_from(HARD) | st.text(max_size=30).filter(accepted)


@given(LINES)
def test_matplotlib_draws_no_formula(text):
    figure = Figure()
    handle = figure.text(0, 0, escapes.mathtext(text))
    drawn, is_formula = handle._preprocess_math(handle.get_text())
    assert (drawn.removeprefix("\u200b"), is_formula) == (text, False)
    assert escapes.strip_mathtext(handle.get_text()) == text.replace(r"\$", "$")


@given(LINES)
@example("*a*")
@example("12) x")
def test_markdown_shows_the_text(text):
    reader = MarkdownIt("commonmark").enable("table")
    page = reader.render(f"| a | b |\n|---|---|\n| {escapes.markdown(text)} | x |\n\n{escapes.markdown(text)}\n")
    shown = " ".join(text.split())
    assert unescape(page.split("<td>")[1].split("</td>")[0]) == shown
    assert unescape(page.rpartition("<p>")[2].partition("</p>")[0]) == shown


@given(LINES)
def test_the_report_shows_the_text(text):
    page = Environment().from_string(about._for_jinja(about._bullets([text, "then"]))).render()
    tree = publish_doctree(page, settings_overrides={"report_level": 5, "file_insertion_enabled": False})
    (items,) = tree.children
    assert [item.astext() for item in items] == [" ".join(text.split()), "then"]


@given(st.lists(LINES, min_size=1))
def test_a_spreadsheet_sees_no_formula_and_the_text_comes_back(texts):
    written = escapes.csv(pd.DataFrame({"label": texts, "mean": -1.5}))
    cells = pd.read_csv(BytesIO(written.encode()), dtype={"label": str}, keep_default_na=False)
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells["label"])
    assert list(cells["label"].map(escapes.from_csv)) == texts
    assert set(cells["mean"]) == {-1.5}


def test_a_menu_ends_no_script():
    assert menu_entries({"a": "</script> {x}", "b": ""}) == {"a": "‹/script› (x)", "b": "b"}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("*a [b]", "{*}a {[}b{]}"),
        ("ηΔΑ − ∞ √", r"$\eta$$\Delta$A $-$ $\infty$ $\surd$"),
        ("x⁻¹ ₂", "x$^{-}$$^{1}$ $_{2}$"),
        ("é ñ Ł", r"\'{e} \~{n} \L{}"),
        ("½", "1$/$2"),
        ("中", r"\ifdefined\Umathchar 中\else{[}U+4E2D{]}\fi{}"),
        ("a\n b", "a b"),
    ],
)
def test_latex_by_hand(text, written):
    assert latex.escape(text) == written


@given(LINES)
def test_latex_has_what_every_engine_reads(text):
    written = latex.escape(text)
    outside = "".join(part.partition(r"\else")[2] if i else part for i, part in enumerate(written.split(r"\ifdefined")))
    assert outside.isascii()
    assert written.count("{") - written.count(r"\{") == written.count("}") - written.count(r"\}")


def labelled(text):
    """Scores of one method of this label."""
    return table(methods=("ECT",), seeds=(0,)).assign(label=text, method=text)


@pytest.mark.parametrize("engine", ["pdflatex", "lualatex"])
def test_every_label_compiles(tmp_path, engine):
    if not shutil.which(engine):
        pytest.skip(f"needs {engine}")
    signs = "".join([*latex.TEXT, *latex.LATIN, *latex.MATH, "àáâãāăȧäåőčạç"])
    rows = pd.concat([labelled(text) for text in [*HARD, signs]])
    tabulate_scores(rows, tmp_path / "a", signs)
    page = r"\documentclass{article}\usepackage{booktabs}\begin{document}\listoftables\input{a.tex}\end{document}"
    (tmp_path / "page.tex").write_text(page)
    for _ in range(2):  # the list of tables has the captions
        command = [engine, "-halt-on-error", "-interaction=nonstopmode", "page.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


def test_figures_of_hard_labels_are_drawn_with_their_legends(tmp_path):
    scores = pd.concat([labelled(text) for text in (*HARD[:2], "_hidden")])
    draw_final(scores, tmp_path / "a", r"Ba$$in $\nothing$")
    assert (tmp_path / "a.pdf").stat().st_size > 1000


def font_with(path, characters):
    """A font file that has these characters, each a box."""
    pen = TTGlyphPen(None)
    for point, draw in zip([(0, 0), (0, 700), (700, 700)], [pen.moveTo, pen.lineTo, pen.lineTo], strict=True):
        draw(point)
    pen.closePath()
    names = [".notdef", *(f"u{ord(character):04X}" for character in characters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(character): name for character, name in zip(characters, names[1:], strict=True)})
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Boxes", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


def test_characters_are_drawn_with_a_font_that_has_them_or_said_to_be_missing(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(fontManager, "ttflist", [font for font in fontManager.ttflist if font.name == "DejaVu Sans"])
    figure = Figure()
    FigureCanvasAgg(figure)
    figure.text(0.1, 0.5, "中文 é")
    assert "(U+4E2D, U+6587)" in use_fonts_with_all_characters(figure)
    fontManager.addfont(font_with(tmp_path / "boxes.ttf", "中文"))
    assert use_fonts_with_all_characters(figure) == ""
    figure.savefig(tmp_path / "a.png")
    assert not [warning for warning in recwarn if "missing from" in str(warning.message)]
