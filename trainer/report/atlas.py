"""The map of all materials: where the network sees them, in two dimensions."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from farm.spectrum import FloatArray
from trainer.inference.plot import INK, RAMP
from trainer.report.contents import Group, Materials
from trainer.report.figure import MOST_VECTOR_MARKS, Panel, Plate
from trainer.report.observables import onset_ev

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INSTALL_UMAP = "pip install umap-learn"
# Fewer have no neighbourhoods that a map could keep.
FEWEST_FOR_UMAP = 12
_NEIGHBOURS = 15
_MIN_DISTANCE = 0.15


@dataclass(frozen=True, eq=False)
class Embedding:
    """Places on the map, float64 ``(n_materials, 2)``, by which method, and what to say about it."""

    places: FloatArray
    method: str
    remark: str = ""


def embed(pooled: NDArray[np.float32]) -> Embedding | None:
    """Two dimensions for pooled vectors ``(n_materials, width)``; None for fewer than three materials.

    UMAP (McInnes, Healy, Melville, arXiv:1802.03426) of the Euclidean distances, 15 neighbours, always
    from the same seed; the two principal components where it is not installed or there are too few.
    """
    n_materials = len(pooled)
    if n_materials < 3:
        return None
    if n_materials < FEWEST_FOR_UMAP:
        why = f"{n_materials} materials are too few for UMAP: these are the principal components."
        return Embedding(principal_components(pooled), "PCA", why)
    if importlib.util.find_spec("umap") is None:
        why = f"UMAP is not installed (`{INSTALL_UMAP}`): the map shows the principal components."
        return Embedding(principal_components(pooled), "PCA", why)
    return Embedding(_umap(pooled), "UMAP")


def principal_components(vectors: NDArray[np.float32]) -> FloatArray:
    """The two with the largest variance, ``(n_materials, 2)``; of each the sign is fixed."""
    centred = np.asarray(vectors, dtype=np.float64) - vectors.mean(axis=0, dtype=np.float64)
    left, singular, axes = np.linalg.svd(centred, full_matrices=False)
    largest = np.argmax(np.abs(axes[:2]), axis=1)
    signs = np.sign(axes[np.arange(len(largest)), largest])
    places = np.zeros((len(vectors), 2))
    places[:, : len(signs)] = (left[:, :2] * singular[:2]) * signs
    return places


def _umap(pooled: NDArray[np.float32]) -> FloatArray:
    with warnings.catch_warnings():
        # Of optional parts that are not installed, and of a graph with several components.
        warnings.simplefilter("ignore")
        from umap import UMAP

        mapper = UMAP(
            n_components=2,
            n_neighbors=min(_NEIGHBOURS, len(pooled) - 1),
            min_dist=_MIN_DISTANCE,
            random_state=0,
            n_jobs=1,
        )
        places = np.asarray(mapper.fit_transform(pooled), dtype=np.float64)
    # Points that touch nothing are left without a place; they go to the middle of the rest.
    lost = ~np.isfinite(places).all(axis=1)
    places[lost] = places[~lost].mean(axis=0) if not lost.all() else 0.0
    return places


def atlas_plate(materials: Materials, embedding: Embedding) -> Plate:
    """The map twice: by SC of the IPA taken for RPA, and by the onset of absorption."""
    onset = onset_ev(materials.rpa, materials.energies_ev)
    n_held_out = materials.held_out.size
    ringed = " Held-out materials are ringed." if n_held_out else ""
    colourings = (
        ("similarity", "SC of IPA as RPA", np.clip(materials.sc_ipa, 0.4, 1.0)),
        ("onset", "onset of absorption (eV)", np.clip(onset, *np.percentile(onset, [2, 98]))),
    )
    return Plate(
        name="atlas",
        caption=f"{embedding.method} of the pooled vectors of {len(materials)} materials.{ringed}",
        panels=tuple(
            Panel(
                name=f"atlas-{name}",
                alt=f"Map of {len(materials)} materials coloured by {title}.{ringed}",
                draw=lambda axis, title=title, values=values: _draw(  # type: ignore[misc]
                    axis, embedding.places, values, materials.groups == Group.HELD_OUT, title
                ),
                width_inches=4.6,
                height_inches=4.0,
            )
            for name, title, values in colourings
        ),
        columns=2,
    )


def _draw(
    axis: Axes, places: FloatArray, values: FloatArray, ringed: NDArray[np.bool_], title: str
) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colours: Sequence[str] = RAMP
    ramp = LinearSegmentedColormap.from_list("ramp", list(colours))
    many = len(places) > MOST_VECTOR_MARKS
    marks = axis.scatter(
        places[:, 0], places[:, 1], c=values, cmap=ramp, s=12, lw=0, alpha=0.9, rasterized=many
    )
    axis.scatter(
        places[ringed, 0],
        places[ringed, 1],
        s=22,
        facecolors="none",
        edgecolors=INK,
        lw=0.6,
        rasterized=many,
    )
    axis.set(xticks=[], yticks=[], title=title)
    axis.spines[:].set_visible(False)
    if axis.figure is not None:
        bar = axis.figure.colorbar(marks, ax=axis, shrink=0.6, aspect=25, pad=0.01)
        bar.outline.set_visible(False)
        if bar.solids is not None:
            bar.solids.set_rasterized(True)
