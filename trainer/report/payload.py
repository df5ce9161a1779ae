"""What the map in the browser needs, packed: spectra as bytes, everything else short numbers."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.inference.plot import RAMP
from trainer.report.atlas import Embedding
from trainer.report.contents import GROUP_NAMES, Group, Materials
from trainer.report.observables import onset_ev

# Every tenth point of the published grid, 0.1 eV, a third of its damping.
MOST_POINTS = 201
_LEVELS = 255


def atlas_payload(materials: Materials, embedding: Embedding) -> dict[str, Any]:
    """Plain values for the script of the page; spectra by :func:`pack_spectra`."""
    step = max(1, (materials.energies_ev.size - 1) // (MOST_POINTS - 1))
    spectra = {"rpa": materials.rpa, "ipa": materials.ipa, "predicted": materials.predicted}
    held = {name: values[:, ::step] for name, values in spectra.items() if values is not None}
    scale, packed = pack_spectra(held)
    onset = onset_ev(materials.rpa, materials.energies_ev)
    low, span = embedding.places.min(axis=0), np.ptp(embedding.places, axis=0).max() or 1.0
    places = (embedding.places - low) / span
    used = sorted(set(materials.groups.tolist()))
    return {
        "n": len(materials),
        "ids": list(materials.ids),
        "formulas": list(materials.formulas),
        "nAtoms": materials.n_atoms.tolist(),
        "groups": materials.groups.tolist(),
        "groupNames": {group: GROUP_NAMES[Group(group)] for group in used},
        "x": [round(x, 4) for x in places[:, 0].tolist()],
        "y": [round(y, 4) for y in places[:, 1].tolist()],
        "scIpa": [round(sc, 3) for sc in materials.sc_ipa.tolist()],
        "sc": None if materials.sc is None else [round(sc, 3) for sc in materials.sc.tolist()],
        "scExpected": None
        if materials.sc_expected is None
        else [round(sc, 3) for sc in materials.sc_expected.tolist()],
        "gap": [None if gap is None else round(gap, 2) for gap in materials.gap_ev],
        "onset": [round(ev, 2) for ev in onset.tolist()],
        "heldOut": int(Group.HELD_OUT),
        "first": _first(materials),
        "energyStep": round(float(materials.energies_ev[step] - materials.energies_ev[0]), 6),
        "nPoints": next(iter(held.values())).shape[1],
        "scale": scale,
        "spectra": packed,
        "ramp": list(RAMP),
    }


def _first(materials: Materials) -> int:
    """The material shown before one is chosen: the median of the held-out ones, or of all."""
    rows = materials.held_out if materials.held_out.size else np.arange(len(materials))
    sc = materials.sc_ipa if materials.sc is None else materials.sc
    return int(rows[np.argsort(sc[rows], kind="stable")[(rows.size - 1) // 2]])


def pack_spectra(spectra: dict[str, NDArray[np.float32]]) -> tuple[list[float], dict[str, str]]:
    """One byte a point: the largest value of each material over all its spectra, and base64 texts.

    spectra: by name, ``(n_materials, n_points)``, nowhere negative. A byte times the largest value over
    255 is the value again, to a part in 500 of the largest.
    """
    largest = np.max([values.max(axis=1) for values in spectra.values()], axis=0)
    scale = np.where(largest > 0, largest, 1.0)
    packed = {}
    for name, values in spectra.items():
        levels = np.rint(np.clip(values / scale[:, None], 0.0, 1.0) * _LEVELS).astype(np.uint8)
        packed[name] = base64.b64encode(levels.tobytes()).decode("ascii")
    return [float(f"{value:.4g}") for value in scale.tolist()], packed
