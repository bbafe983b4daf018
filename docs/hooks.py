"""What the site does to the pages, which are written for a code host: formulas and links into the repository."""

import html
import re

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\(\.\./[^)]+\)")

SPACING = {
    "<mi>&#x0007E;</mi>": '<mo lspace=".28em" rspace=".28em">&#x0223C;</mo>',
    "<mi>;</mi>": '<mo separator="true" lspace="0" rspace=".17em">;</mo>',
    "<mi>ln</mi>": '<mi>ln</mi><mspace width=".17em"/>',
    "<mo>&#x02016;</mo>": '<mo stretchy="false">&#x02016;</mo>',
    **{
        f"{sign}<mo>&#x02212;</mo>": f'{sign}<mo lspace="0" rspace="0">&#x02212;</mo>'
        for sign in (
            '<mo stretchy="false">&#x00028;</mo>',
            '<mo stretchy="false">[</mo>',
        )
    },
}
"""What the converter takes for plain letters, or for infix signs."""


def on_page_markdown(markdown: str, **_: object) -> str:
    """Keep the text of links that lead out of docs/: the site has no repository to lead to."""
    return OUTSIDE.sub(r"\1", markdown)


def on_page_content(content: str, **_: object) -> str:
    """Formulas as MathML, which browsers draw themselves: nothing is loaded."""

    def mathml(found: re.Match[str]) -> str:
        display = "block" if found[1] == "div" else "inline"
        formula = convert(html.unescape(found[2]).strip(), display=display)
        for plain, spaced in SPACING.items():
            formula = formula.replace(plain, spaced)
        return f"<{found[1]} class='formula'>{formula}</{found[1]}>"

    return FORMULA.sub(mathml, content)
