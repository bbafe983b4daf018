"""What the site does to the pages, which are written for a code host: formulas and links into the repository."""

import html
import re

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\(\.\./[^)]+\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Keep the text of links that lead out of docs/: the site has no repository to lead to."""
    return OUTSIDE.sub(r"\1", markdown)


def on_page_content(content: str, **_: object) -> str:
    """Formulas as MathML, which browsers draw themselves: nothing is loaded."""

    def mathml(found: re.Match[str]) -> str:
        display = "block" if found[1] == "div" else "inline"
        return f"<{found[1]} class='formula'>{convert(html.unescape(found[2]).strip(), display=display)}</{found[1]}>"

    return FORMULA.sub(mathml, content)
