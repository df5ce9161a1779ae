"""Formulas become MathML when the site is built: browsers draw it, and no script is loaded for it."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<open>[(\[])(?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)


def _mathml(match: re.Match[str]) -> str:
    block = match["open"] == "["
    markup = convert(html.unescape(match["tex"]).strip(), display="block" if block else "inline")
    return f'<div class="formula">{markup}</div>' if block else markup


def on_page_content(content: str, **_: Any) -> str:
    """Replace what arithmatex has marked."""
    return _FORMULA.sub(_mathml, content)
