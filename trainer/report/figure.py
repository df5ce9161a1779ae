"""Panels, and what becomes of them: SVG inside a page that follows light and dark, or files.

A panel draws on axes it is given, so the same code serves the page, where each stands alone and wraps
on a phone, and the files, where the panels of a plate stand side by side.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.inference.plot import COLOURS, FAINT, INK, MUTED, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# More marks than these are drawn as an image: their SVG would outweigh the rest of the page.
MOST_VECTOR_MARKS = 2500

# What of a figure changes between light and dark; the names are those of page.css.
_THEMED = {INK: "ink", MUTED: "muted", FAINT: "line", COLOURS["ipa"]: "ipa", COLOURS["rpa"]: "rpa"}
_FONT = re.compile(r"font: (?:\w+ )*?([\d.]+px) [^;\"]+")
_ID = re.compile(r'\bid="([^"]+)"')


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes.

    name: of the panel, part of ids in the page
    alt:  what it shows, for those who cannot see it
    draw: draws it
    """

    name: str
    alt: str
    draw: Callable[[Axes], None]
    width_inches: float = 3.7
    height_inches: float = 2.9


@dataclass(frozen=True, kw_only=True)
class Plate:
    """Panels that belong together, ``columns`` side by side in a file; ``name`` names the file."""

    name: str
    caption: str
    panels: tuple[Panel, ...]
    columns: int = 1


def panel_svg(panel: Panel) -> str:
    """The panel as an ``<svg>`` element whose text takes the font and the colours of the page."""
    from matplotlib import rc_context

    with rc_context({**STYLE, "svg.fonttype": "none"}):
        figure = _figure((panel,), columns=1)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True)
    return _inline(buffer.getvalue(), panel)


def write_plate(plate: Plate, directory: Path) -> list[Path]:
    """PNG and SVG of a plate; the paths written."""
    from matplotlib import rc_context

    paths = [directory / f"{plate.name}{suffix}" for suffix in (".png", ".svg")]
    with rc_context(STYLE):
        figure = _figure(plate.panels, plate.columns)
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(path, dpi=150, facecolor="white", metadata=metadata)
    return paths


def _figure(panels: tuple[Panel, ...], columns: int) -> Figure:
    from matplotlib.figure import Figure

    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    size = (columns * panels[0].width_inches, rows * panels[0].height_inches)
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis, panel in zip(axes, panels, strict=False):
        panel.draw(axis)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    return figure


def _inline(svg: str, panel: Panel) -> str:
    """Matplotlib's file without what a page does not need, its ids made unique in the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns:xlink="[^"]*"', "", svg, count=1).replace("xlink:href", "href")
    svg = _FONT.sub(r"font-size: \1", svg)
    for colour, name in _THEMED.items():
        svg = svg.replace(colour, f"var(--{name})")
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = _ID.sub(lambda m: f'id="{panel.name}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{panel.name}-", svg)
    svg = re.sub(r"\n\s*", "\n", svg)
    view_box = re.search(r'viewBox="[^"]+"', svg)
    label = f'role="img" aria-label="{escape(panel.alt)}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {view_box[0] if view_box else ""} {label}>'
    return head + svg[svg.index(">") + 1 :].strip()
