"""Learning curves: held-out median SC against the number of materials learnt from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from farm.median_interval import median_interval
from trainer.checkpoints.card import Card
from trainer.inference.plot import COLOURS, INK
from trainer.report.contents import Contents, MeasuredNow
from trainer.report.curve_file import KINDS, Curve, CurvePoint
from trainer.report.figure import Panel, Plate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLES = {
    "transfer": ("transfer from IPA", COLOURS["rpa"], "o", "-"),
    "direct": ("RPA from nothing", INK, "s", "-."),
    "small-cells": ("transfer, small cells", "#2b7a78", "^", ":"),
}
# Of fits to cells of at most so many atoms: the larger, the darker.
_LIMITED = {1: "#8cc5bd", 2: "#5ba39a", 3: "#2b7a78"}
_LIMITED_LARGER = "#15514f"
# Below these a curve has nothing to show; far worse fits would flatten the rest.
_LOWEST_SHOWN = -0.25


def curve_plate(contents: Contents, curve: Curve | None) -> Plate | None:
    """The versions of the registry, and the fits of ``curve``; None where there is neither."""
    panels, versions, now = [], as_fitted(contents.versions), contents.measured_now
    if versions:
        last = versions[-1]
        alt = (
            f"Held-out median similarity of {len(versions)} versions against materials learnt from; the "
            f"last has {last.median_sc:.3f} after {last.n_train}."
        )
        panels.append(Panel(name="versions", alt=alt, draw=lambda axis: _draw_versions(axis, versions)))
    if now is not None:
        alt = (
            f"Median similarity of {len(now.points)} versions on the same {now.n_held_out} materials: "
            f"{now.points[0][1]:.3f} after {now.points[0][0]} learnt from, {now.points[-1][1]:.3f} "
            f"after {now.points[-1][0]}; IPA taken for RPA {now.ipa_as_rpa:.3f}."
        )
        panels.append(Panel(name="versions-now", alt=alt, draw=lambda axis: _draw_now(axis, now)))
    if curve is not None and curve.points:
        alt = "Held-out median similarity against materials learnt from: " + _told(curve)
        panels.append(Panel(name="curve", alt=alt, draw=lambda axis: _draw_curve(axis, curve)))
    if not panels:
        return None
    return Plate(
        name="learning-curve",
        caption=_caption([panel.name for panel in panels]),
        panels=tuple(panels),
        columns=3,
    )


_CAPTIONS = {
    "versions": "As fitted: each version on the materials that were held out when it was fitted (their "
    "number beside it), so early points rest on few; bars are 95 % bootstrap intervals of the median.",
    "versions-now": "On the same materials: those that this checkpoint holds out, which none of the "
    "versions has learnt from.",
    "curve": "Fits at each size: small marks are single seeds, each with its own held-out materials; the "
    "line joins their means.",
}


def _caption(names: Sequence[str]) -> str:
    parts = [_CAPTIONS[name] for name in names]
    return " ".join([*parts, "Dashed: the calculated IPA spectrum taken for the RPA one."])


@dataclass(frozen=True, kw_only=True)
class FittedVersion:
    """A version as its card tells: on ``n_held_out`` materials, with a 95 % interval of the median."""

    n_train: int
    n_held_out: int
    median_sc: float
    interval: tuple[float, float] | None
    ipa_as_rpa: float | None


def as_fitted(versions: Sequence[Card]) -> list[FittedVersion]:
    """Those that were fitted and measured, in the order given."""
    return [
        FittedVersion(
            n_train=card.n_train,
            n_held_out=len(card.held_out),
            median_sc=card.median_sc,
            interval=median_interval([float(record["sc"]) for record in card.held_out]),
            ipa_as_rpa=card.metrics.get("ipa_as_rpa", {}).get("median_sc"),
        )
        for card in versions
        if card.median_sc is not None and card.n_train
    ]


# Kind, and the largest cell in atoms where the fits were limited to small ones.
Series = tuple[str, int | None]


def by_series(points: Sequence[CurvePoint]) -> dict[Series, dict[int, list[float]]]:
    """Median SC of all seeds by kind, largest cell and number of materials, all ascending."""
    found: dict[Series, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for point in sorted(points, key=lambda p: (p.n, p.seed)):
        found[point.kind, point.max_atoms][point.n].append(point.median_sc)
    ordered = sorted(found, key=lambda series: (KINDS.index(series[0]), series[1] or 0))
    return {series: dict(found[series]) for series in ordered}


def _look(series: Series) -> tuple[str, str, str, str]:
    """Label, colour, marker and line style."""
    kind, limit = series
    label, colour, marker, style = _STYLES[kind]
    if limit is None:
        return label, colour, marker, style
    return f"transfer, ≤ {limit} atoms", _LIMITED.get(limit, _LIMITED_LARGER), marker, style


def _told(curve: Curve) -> str:
    parts = []
    for series, found in by_series(curve.points).items():
        largest = max(found)
        parts.append(f"{_look(series)[0]} {fmean(found[largest]):.3f} at {largest}")
    mark = "" if curve.ipa_as_rpa is None else f"; IPA taken for RPA {curve.ipa_as_rpa:.3f}"
    return ", ".join(parts) + mark + "."


def _draw_versions(axis: Axes, versions: Sequence[FittedVersion]) -> None:
    n = [version.n_train for version in versions]
    medians = [version.median_sc for version in versions]
    marks = [version.ipa_as_rpa for version in versions]
    for version in versions:
        if version.interval is not None:
            axis.plot([version.n_train] * 2, version.interval, color=COLOURS["rpa"], lw=1, alpha=0.45)
        axis.annotate(
            str(version.n_held_out),
            (version.n_train, max(version.median_sc, _LOWEST_SHOWN)),
            xytext=(5, -9),
            textcoords="offset points",
            fontsize=7,
        )
    known = [(x, y) for x, y in zip(n, marks, strict=True) if y is not None]
    if known:
        axis.plot(
            *zip(*sorted(known), strict=True), color=COLOURS["ipa"], ls="--", lw=1.3, label="IPA as RPA"
        )
    axis.plot(n, medians, color=COLOURS["rpa"], marker="o", ms=4.5, lw=1.4, label="model")
    _finish(axis, n, [*medians, *(y for _, y in known)], "as fitted")


def _draw_now(axis: Axes, now: MeasuredNow) -> None:
    n, medians = ([point[i] for point in now.points] for i in (0, 1))
    axis.axhline(now.ipa_as_rpa, color=COLOURS["ipa"], ls="--", lw=1.3, label="IPA as RPA")
    axis.plot(n, medians, color=COLOURS["rpa"], marker="o", ms=4.5, lw=1.4, label="model")
    _finish(axis, n, [*medians, now.ipa_as_rpa], f"on the same {now.n_held_out} materials")


def _draw_curve(axis: Axes, curve: Curve) -> None:
    for series, found in by_series(curve.points).items():
        label, colour, marker, style = _look(series)
        for n, values in found.items():
            axis.plot([n] * len(values), values, ls="", marker=marker, ms=3, color=colour, alpha=0.45)
        means = [fmean(values) for values in found.values()]
        axis.plot(list(found), means, color=colour, marker=marker, ms=5, ls=style, lw=1.4, label=label)
    if curve.ipa_as_rpa is not None:
        axis.axhline(curve.ipa_as_rpa, color=COLOURS["ipa"], ls="--", lw=1.3, label="IPA as RPA")
    values = [point.median_sc for point in curve.points]
    _finish(axis, [point.n for point in curve.points], values, "fits at each size")


def _finish(axis: Axes, n: Sequence[float], values: Sequence[float], title: str) -> None:
    axis.set_xscale("log")
    low, high = min(n) / 1.25, max(n) * 1.35
    ticks = [
        step * 10**power for power in range(8) for step in (1, 2, 5) if low <= step * 10**power <= high
    ]
    axis.set_xticks(ticks or [n[0]], [f"{tick:,}" for tick in ticks or [n[0]]])
    axis.set_xticks([], minor=True)
    axis.set_xlim(low, high)
    axis.set_ylim(max(min([*values, 0.5]) - 0.08, _LOWEST_SHOWN), 1.0)
    axis.grid(axis="y")
    axis.set(xlabel="materials learnt from", ylabel="held-out median SC", title=title)
    axis.legend(loc="best")
