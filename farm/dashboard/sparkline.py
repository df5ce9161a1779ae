"""A row of numbers as a line as high as two lines of text; pure."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

_WIDTH, _HEIGHT, _MARGIN = 160.0, 36.0, 4.0


def sparkline(values: Sequence[float], label: str) -> Markup | None:
    """The values from left to right, the last with a dot; None for fewer than two. ``label``: in words."""
    if len(values) < 2:
        return None
    low, high = min(values), max(values)
    # All the same: a line in the middle.
    span = high - low or 1.0
    step = (_WIDTH - 2 * _MARGIN) / (len(values) - 1)
    points = [
        (
            _MARGIN + n * step,
            _HEIGHT / 2
            if low == high
            else _HEIGHT - _MARGIN - (value - low) / span * (_HEIGHT - 2 * _MARGIN),
        )
        for n, value in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    return Markup(  # noqa: S704 - numbers, and an escaped label
        f'<svg class="sparkline" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" width="{_WIDTH:g}" '
        f'height="{_HEIGHT:g}" role="img" aria-label="{escape(label)}">'
        f'<polyline points="{line}"/><circle cx="{x:.1f}" cy="{y:.1f}" r="3"/></svg>'
    )
