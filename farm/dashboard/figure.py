"""Line figures as SVG, drawn by the server: they need no script, and take their colours from the page.

Pure functions. What a line means is said by a class, and the style sheet says how it looks: light, dark and
printed pages show the same figure. Marks are inside the frame of the axes, texts around it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup, escape

from farm.spectrum import FloatArray

# Of the drawing, in its own units; a page scales it. Paths are in tenths of them, as whole numbers.
WIDTH, HEIGHT = 440, 264
_TENTHS = 10
# Of a curve that has more points than these, the lowest and the highest of each stretch are drawn.
_MOST_STRETCHES = 420
# Between two rows of texts.
ROW = 15
_NICE = (1.0, 2.0, 5.0, 10.0)

Ticks = tuple[tuple[float, str], ...]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One axis: its range, its ticks, and what it shows with the unit.

    logarithmic: places go by the logarithm; the range is above 0
    """

    low: float
    high: float
    label: str
    ticks: Ticks
    logarithmic: bool = False

    def share(self, values: FloatArray | float) -> FloatArray:
        """How far along the axis values lie, 0 to 1 within it."""
        at = np.asarray(values, dtype=np.float64)
        low, high = self.low, self.high
        if self.logarithmic:
            at, low, high = np.log(at), math.log(low), math.log(high)
        share: FloatArray = (at - low) / (high - low)
        return share


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """A curve; ``look`` are its classes."""

    x: FloatArray
    y: FloatArray
    look: str


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A point with a text that a pointer over it shows; ``low`` and ``high`` an interval through it."""

    x: float
    y: float
    look: str
    title: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A line across the whole frame at one value of x, or of y, with a text at its end.

    row:   of the text from the top edge, so that those of marks side by side do not run into each other
    above: rows go up from the frame, where no curve comes; else down into it
    """

    at: float
    text: str = ""
    row: int = 0
    above: bool = False
    look: str = ""
    across: bool = False


@dataclass(frozen=True, kw_only=True)
class Shade:
    """A range of y that is shaded."""

    low: float
    high: float
    look: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Figure:
    """One pair of axes and what is drawn there; ``alt`` says it to those who cannot see it."""

    x: Scale
    y: Scale
    alt: str
    lines: Sequence[Line] = ()
    dots: Sequence[Dot] = ()
    marks: Sequence[Mark] = ()
    shades: Sequence[Shade] = ()
    height: int = HEIGHT
    # Left, right, top and bottom of the frame: room for the texts around it.
    margins: tuple[int, int, int, int] = field(default=(50, 12, 24, 40))


def nice_scale(low: float, high: float, label: str, *, wanted: int = 5, loose: bool = True) -> Scale:
    """A linear scale with round ticks; ``loose`` moves its ends out to ticks."""
    if not high > low:
        low, high = low - 0.5, high + 0.5
    step = nice_step(high - low, wanted)
    if loose:
        low, high = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
    first = math.ceil(low / step - 1e-9)
    n_ticks = math.floor(high / step + 1e-9) - first + 1
    ticks = tuple((step * (first + i), tick_text(step * (first + i), step)) for i in range(n_ticks))
    return Scale(low=low, high=high, label=label, ticks=ticks)


def log_scale(low: float, high: float, label: str) -> Scale:
    """A logarithmic scale with a little room at both ends, and ticks at 1, 2 and 5 of each decade."""
    low, high = low / 1.25, high * 1.25
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [m * 10.0**d for d in decades for m in (1, 2, 5) if low <= m * 10.0**d <= high]
    ticks = tuple((value, f"{value:,.12g}") for value in found)
    return Scale(low=low, high=high, label=label, ticks=ticks, logarithmic=True)


def nice_step(span: float, wanted: int) -> float:
    """The round step that gives about so many ticks."""
    power = 10.0 ** math.floor(math.log10(span / wanted))
    return next(power * m for m in _NICE if power * m >= 0.75 * span / wanted)


def tick_text(value: float, step: float) -> str:
    """As many digits as the step has, with a true minus."""
    decimals = next((n for n in range(8) if abs(round(step, n) - step) < 1e-9 * step), 8)
    if abs(value) >= 1e5:
        return f"{value:.3g}".replace("e+0", "e").replace("-", "−")  # noqa: RUF001 - a minus sign
    return f"{value + 0.0:.{decimals}f}".replace("-", "−")  # noqa: RUF001


def svg(figure: Figure, name: str) -> Markup:
    """The figure as an ``<svg>`` element; ``name`` is part of its ids, unique in the page."""
    frame = _Frame(figure)
    clip = f"{name}-frame"
    x, y, width, height = frame.box
    parts = [
        f'<svg class="plot" viewBox="0 0 {WIDTH} {figure.height}"'
        f' role="img" aria-label="{escape(figure.alt)}"'
        f' data-left="{x}" data-right="{x + width}" data-top="{y}" data-bottom="{y + height}"'
        f' data-low="{figure.x.low:.9g}" data-high="{figure.x.high:.9g}"'
        f' data-y-low="{figure.y.low:.9g}" data-y-high="{figure.y.high:.9g}">',
        f'<clipPath id="{clip}"><rect x="{x}" y="{y}" width="{width}" height="{height}"/></clipPath>',
        *_axes(figure, frame),
        f'<g clip-path="url(#{clip})">',
        *(_shade(frame, shade) for shade in figure.shades),
        *(_mark_line(frame, mark) for mark in figure.marks),
        f'<g transform="scale({1 / _TENTHS:g})">',
        *(_path(frame, line) for line in figure.lines),
        "</g></g>",
        *(_mark_text(frame, mark) for mark in figure.marks if mark.text),
        *(_dot(frame, dot) for dot in figure.dots),
        "</svg>",
    ]
    return Markup("".join(parts))  # noqa: S704 - every text in it went through escape


class _Frame:
    """Where values lie in the drawing."""

    def __init__(self, figure: Figure) -> None:
        self._x, self._y = figure.x, figure.y
        left, right, top, bottom = figure.margins
        self.box = (left, top, WIDTH - left - right, figure.height - top - bottom)

    def x(self, values: FloatArray | float) -> FloatArray:
        return self.box[0] + self._x.share(values) * self.box[2]

    def y(self, values: FloatArray | float) -> FloatArray:
        return self.box[1] + (1.0 - self._y.share(values)) * self.box[3]


def thinned(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """At most some 800 points: of each stretch of a longer curve the lowest and the highest."""
    if x.size <= 2 * _MOST_STRETCHES:
        return x, y
    length = math.ceil(x.size / _MOST_STRETCHES)
    starts = np.arange(0, x.size, length)
    # The last stretch is filled up with its last point.
    stretches = np.pad(y, (0, starts.size * length - x.size), mode="edge").reshape(starts.size, length)
    ends = (starts + stretches.argmin(axis=1), starts + stretches.argmax(axis=1), (0, x.size - 1))
    at = np.unique(np.minimum(np.concatenate(ends), x.size - 1))
    return x[at], y[at]


def _path(frame: _Frame, line: Line) -> str:
    x, y = thinned(line.x, line.y)
    # Far outside the frame numbers grow without being seen.
    low, high = (_TENTHS * end for end in (frame.box[1] - 500, frame.box[1] + frame.box[3] + 500))
    rows = np.clip(np.rint(_TENTHS * frame.y(y)), low, high)
    points = np.column_stack([np.rint(_TENTHS * frame.x(x)), rows]).astype(np.int64)
    steps = np.diff(points, axis=0)
    start = f"M{points[0, 0]} {points[0, 1]}"
    return f'<path class="{line.look}" d="{start}l{" ".join(map(str, steps.ravel().tolist()))}"/>'


def _axes(figure: Figure, frame: _Frame) -> Iterable[str]:
    left, top, width, height = frame.box
    right, bottom = left + width, top + height
    yield '<g class="grid">'
    yield from (f'<path d="M{left} {_at(frame.y(v))}H{right}"/>' for v, _ in figure.y.ticks)
    yield f'</g><path class="axis" d="M{left} {bottom}H{right}"/><g class="ticks">'
    for value, text in figure.x.ticks:
        place = f'x="{_at(frame.x(value))}" y="{bottom + 15}"'
        yield f'<text {place} text-anchor="middle">{escape(text)}</text>'
    for value, text in figure.y.ticks:
        yield f'<text x="{left - 6}" y="{_at(frame.y(value) + 4)}" text-anchor="end">{escape(text)}</text>'
    yield "</g>"
    middle = (left + right) / 2
    yield (
        f'<text class="label" x="{middle:g}" y="{figure.height - 7}" text-anchor="middle">'
        f"{escape(figure.x.label)}</text>"
    )
    yield f'<text class="label" x="4" y="12">{escape(figure.y.label)}</text>'


def _shade(frame: _Frame, shade: Shade) -> str:
    left, _, width, _ = frame.box
    top, bottom = float(frame.y(shade.high)), float(frame.y(shade.low))
    return (
        f'<rect class="{shade.look}" x="{left}" y="{top:.1f}" width="{width}" height="{bottom - top:.1f}"/>'
    )


def _mark_line(frame: _Frame, mark: Mark) -> str:
    left, top, width, height = frame.box
    if mark.across:
        return f'<path class="mark {mark.look}" d="M{left} {_at(frame.y(mark.at))}H{left + width}"/>'
    return f'<path class="mark {mark.look}" d="M{_at(frame.x(mark.at))} {top}V{top + height}"/>'


def _mark_text(frame: _Frame, mark: Mark) -> str:
    left, top, width, _ = frame.box
    if mark.across:
        x, y, anchor = f"{left + width - 2}", _at(frame.y(mark.at) - 4), "end"
    else:
        # On the side where there is room.
        beyond = float(frame.x(mark.at)) > left + 0.7 * width
        x = _at(frame.x(mark.at) + (-4 if beyond else 4))
        y = f"{top - 7 - ROW * mark.row if mark.above else top + 10 + ROW * mark.row}"
        anchor = "end" if beyond else "start"
    place = f'x="{x}" y="{y}" text-anchor="{anchor}"'
    return f'<text class="mark-text {mark.look}" {place}>{escape(mark.text)}</text>'


def _dot(frame: _Frame, dot: Dot) -> str:
    x, y = _at(frame.x(dot.x)), _at(frame.y(dot.y))
    bar = ""
    if dot.low is not None and dot.high is not None:
        bar = f'<path d="M{x} {_at(frame.y(dot.low))}V{_at(frame.y(dot.high))}"/>'
    title = f"<title>{escape(dot.title)}</title>" if dot.title else ""
    return f'<g class="dot {dot.look}">{title}{bar}<circle cx="{x}" cy="{y}" r="4"/></g>'


def _at(value: FloatArray | float) -> str:
    return f"{float(value):.1f}"
