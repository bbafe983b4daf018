"""Text for LaTeX: any text becomes LaTeX that compiles with pdfLaTeX, XeLaTeX and LuaLaTeX."""

from __future__ import annotations

import unicodedata

from ayt.reporting.escapes import unbroken

# A star or a bracket at the start of a row would be taken as an argument of the \\ before it.
TEXT = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "*": "{*}",
    "[": "{[}",
    "]": "{]}",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    "§": r"\S{}",
    "¶": r"\P{}",
    "£": r"\pounds{}",
    "©": r"\copyright{}",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
}
LATIN = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEZHIKMNOPTYXo", strict=True))
"""Greek letters without a LaTeX name, as they look like these."""

GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi"
CAPITALS = "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
MATH = {
    **{letter: rf"\{name}" for letter, name in zip("αβγδεζηθικλμνξπρστυφχψ", GREEK.split(), strict=True)},
    **{letter: rf"\{name}" for letter, name in zip("ΓΔΘΛΞΠΣΥΦΨΩ", CAPITALS.split(), strict=True)},
    **{"ω": r"\omega", "ς": r"\varsigma", "ϕ": r"\phi", "ϵ": r"\epsilon", "ϑ": r"\vartheta", "µ": r"\mu"},
    **{"±": r"\pm", "∓": r"\mp", "×": r"\times", "÷": r"\div", "·": r"\cdot", "−": "-", "∞": r"\infty", "√": r"\surd"},
    **{"≥": r"\geq", "≤": r"\leq", "≈": r"\approx", "≠": r"\neq", "≡": r"\equiv", "∼": r"\sim", "∝": r"\propto"},
    **{"→": r"\to", "←": r"\leftarrow", "↑": r"\uparrow", "↓": r"\downarrow", "↔": r"\leftrightarrow"},
    **{"⇒": r"\Rightarrow", "∂": r"\partial", "∇": r"\nabla", "∈": r"\in", "∑": r"\sum", "∏": r"\prod", "∫": r"\int"},
    **{"∥": r"\parallel", "‖": r"\|", "⊥": r"\perp", "⊕": r"\oplus", "⊗": r"\otimes", "∘": r"\circ", "°": r"^\circ"},
    **{"⟨": r"\langle", "⟩": r"\rangle", "ℓ": r"\ell", "′": "'", "″": "''", "¬": r"\neg", "•": r"\bullet", "⁄": "/"},
}
ACCENTS = dict(
    zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0323\u0327", "`'^~=u.\"rHvdc", strict=True)
)
"""Combining marks, and the commands that set them in every font encoding."""


def escape(text: str) -> str:
    """Text as LaTeX, on one line.

    Characters without a LaTeX command are kept for engines that read Unicode, and become their number for others.
    """
    return "".join(map(_character, unicodedata.normalize("NFC", unbroken(text))))


def _character(character: str) -> str:
    if character in TEXT:
        return TEXT[character]
    if character in LATIN:
        return LATIN[character]
    if character in MATH:
        return f"${MATH[character]}$"
    if character.isascii():
        return character
    return _compose(character) or rf"\ifdefined\Umathchar {character}\else{{[}}U+{ord(character):04X}{{]}}\fi{{}}"


def _compose(character: str) -> str:
    """A composed Unicode character, by its parts; empty if it is not composed, or they cannot be set."""
    kind, _, codes = unicodedata.decomposition(character).rpartition("> ")
    parts = [chr(int(code, 16)) for code in codes.split()]
    inner = "".join(part if part.isascii() else MATH.get(part, "") for part in parts)
    if kind in ("<super", "<sub") and inner:
        return f"${'^' if kind == '<super' else '_'}{{{inner}}}$"
    if not kind and len(parts) == 2 and parts[1] in ACCENTS and parts[0].isascii() and parts[0].isalpha():
        return rf"\{ACCENTS[parts[1]]}{{{parts[0]}}}"
    if kind and all(part.isascii() or part in MATH for part in parts):
        return "".join(map(_character, parts))
    return ""
