"""Formulas become MathML when the site is built: browsers draw it, and no script is loaded for it."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<open>[(\[])(?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)
_BOLD = re.compile(r'<mi mathvariant="bold">([A-Za-z])</mi>')
_PRIMED = re.compile(r"<msup>(<mi[^>]*>[^<]*</mi>)<mi>&#x02032;</mi></msup>")
_BAR = re.compile(r"<mo[^>]*>(?:&#x0?007C;|\|)</mo>")


def _bold(match: re.Match[str]) -> str:
    # Browsers know no mathvariant but "normal": the letter itself has to be bold.
    letter = match[1]
    first = 0x1D400 if letter.isupper() else 0x1D41A
    return (
        f'<mi mathvariant="normal">{chr(first + ord(letter) - ord("A" if letter.isupper() else "a"))}</mi>'
    )


def _mathml(match: re.Match[str]) -> str:
    block = match["open"] == "["
    markup = convert(html.unescape(match["tex"]).strip(), display="block" if block else "inline")
    markup = _BOLD.sub(_bold, markup)
    # A prime is raised as it is.
    markup = _PRIMED.sub(r'<mrow>\1<mo lspace="0" rspace="0">&#x02032;</mo></mrow>', markup)
    markup = _BAR.sub('<mo stretchy="false" lspace="0" rspace="0">|</mo>', markup)
    return f'<div class="formula">{markup}</div>' if block else markup


def on_page_content(content: str, **_: Any) -> str:
    """Replace what arithmatex has marked."""
    return _FORMULA.sub(_mathml, content)
