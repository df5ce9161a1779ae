"""The versions of a model as two figures: how it learns, and what was decided of each; pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from farm.dashboard.checkpoint_cards import Decision, Version
from farm.dashboard.figure import Dot, Figure, Line, Mark, Scale, log_scale, nice_scale, svg

_MEDIAN = "held-out median SC"
# Far worse versions would flatten the rest.
_LOWEST_SHOWN = -0.25
_MOST_TICKS = 10


def learning_curve(versions: Sequence[Version], latest: str) -> Markup | None:
    """Held-out median SC against the spectra learnt from; None where no version was measured."""
    known = sorted(
        ((v.n_train, v.median_sc, v) for v in versions if v.n_train and v.median_sc is not None),
        key=lambda point: (point[0], point[2].number),
    )
    if not known:
        return None
    dots = [
        Dot(
            x=n_train,
            y=max(median_sc, _LOWEST_SHOWN),
            look="used" if version.name == latest else "",
            title=f"{version.name}: {median_sc:.3f} on {version.n_held_out}, from {n_train} spectra",
            low=max(version.interval[0], _LOWEST_SHOWN) if version.interval else None,
            high=version.interval[1] if version.interval else None,
        )
        for n_train, median_sc, version in known
    ]
    marks = [(n, v.ipa_as_rpa) for n, _, v in known if v.ipa_as_rpa is not None]
    sizes, medians = [n for n, _, _ in known], [sc for _, sc, _ in known]
    lines = [Line(x=_array(sizes), y=_array([max(sc, _LOWEST_SHOWN) for sc in medians]), look="line model")]
    if marks:
        ends = [marks[0], *marks, marks[-1]]
        x = _array([min(sizes) / 1.2, *(n for n, _ in marks), max(sizes) * 1.2])
        lines.append(Line(x=x, y=_array([sc for _, sc in ends]), look="line ipa"))
    figure = Figure(
        x=log_scale(min(sizes), max(sizes), "RPA spectra learnt from"),
        y=_sc_scale([*medians, *(dot.low for dot in dots if dot.low is not None)]),
        alt=f"Held-out median similarity of {len(known)} versions; the last has {medians[-1]:.3f} "
        f"from {sizes[-1]} spectra.",
        lines=lines,
        dots=dots,
    )
    return svg(figure, "learning")


def decisions(versions: Sequence[Version], history: Sequence[Decision]) -> Markup | None:
    """Each version as it was measured when it was decided on: promoted or kept aside."""
    measured = {version.name: version.median_sc for version in versions}
    points = []
    for line in history:
        sc = line.median_sc if line.median_sc is not None else measured.get(line.version)
        if line.event in ("promoted", "refused", "rolled back") and sc is not None:
            points.append((line, sc))
    if not points:
        return None
    dots = [
        Dot(
            x=number,
            y=max(sc, _LOWEST_SHOWN),
            look="aside" if line.event == "refused" else "used",
            title=f"{line.version} {told(line)}",
        )
        for number, (line, sc) in enumerate(points)
    ]
    names = [line.version.partition("-")[0] for line, _ in points]
    every = -(-len(points) // _MOST_TICKS)
    ticks = tuple((float(i), name) for i, name in enumerate(names) if i % every == 0)
    n_promoted = sum(line.event != "refused" for line, _ in points)
    before = [Mark(at=b, look="before", across=True) for b in [points[-1][0].before] if b is not None]
    figure = Figure(
        x=Scale(low=-0.5, high=len(points) - 0.5, label="version, in the order of decisions", ticks=ticks),
        y=_sc_scale([sc for _, sc in points]),
        alt=f"{len(points)} decisions on versions: {n_promoted} came into use, "
        f"{len(points) - n_promoted} were kept aside.",
        dots=dots,
        marks=before,
    )
    return svg(figure, "decided")


def told(line: Decision) -> str:
    """What was decided and by which numbers, in words."""
    text = "kept aside" if line.event == "refused" else line.event
    if line.median_sc is not None:
        text += f": {_MEDIAN} {line.median_sc:.3f}"
    if line.before is not None:
        text += f", {line.before:.3f} before"
    if line.p_worse is not None:
        text += f" ({line.p_worse:.0%} likely worse)"
    return f"{text}; {line.why}" if line.why else text


def _sc_scale(values: Sequence[float]) -> Scale:
    low = max(min([*values, 0.5]) - 0.05, _LOWEST_SHOWN)
    return nice_scale(low, 1.0, _MEDIAN)


def _array(values: Sequence[float]) -> np.ndarray:
    return np.array(values, dtype=np.float64)
