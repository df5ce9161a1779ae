"""Crystals with a centre of inversion: with the origin there, H(k) is a real symmetric matrix.

V(G) is real then, and so are b(tau) + b(-tau) and i (b(tau) - b(-tau)) for the projectors of two atoms that
are images of each other. Real matrices take a quarter of the work of complex ones.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from farm.kpoints import FloatArray, SpaceGroup
from workers.rpa.save import Save

_TOLERANCE = 1e-5  # of fractional coordinates


def is_centred(group: SpaceGroup) -> bool:
    """Whether the origin is a centre of inversion."""
    translations = group.translations[group.inversions]
    shifts = translations - np.rint(translations)
    return bool((np.abs(shifts) < _TOLERANCE).all(axis=1).any())


def with_centre_at_origin(
    save: Save, potential: FloatArray, group: SpaceGroup
) -> tuple[Save, FloatArray, SpaceGroup]:
    """The same crystal, potential and group with a centre of inversion, if there is one, at the origin."""
    if not group.inversions.size or is_centred(group):
        return save, potential, group
    # x -> -x + t leaves t/2 where it is.
    centre = group.translations[group.inversions[0]] / 2
    translations = group.translations + group.rotations @ centre - centre
    return (
        replace(save, positions=save.positions - centre),
        _moved(potential, centre),
        replace(group, translations=translations),
    )


def _moved(potential: FloatArray, origin: FloatArray) -> FloatArray:
    """V(r + origin) on the same grid: a phase on its Fourier components."""
    axes = [np.fft.fftfreq(n, 1 / n) for n in potential.shape]
    phase = sum(
        np.reshape(axis * shift, [-1 if i == j else 1 for j in range(3)])
        for i, (axis, shift) in enumerate(zip(axes, origin, strict=True))
    )
    moved: FloatArray = np.fft.ifftn(np.fft.fftn(potential) * np.exp(2j * np.pi * phase)).real
    return moved


def partners(positions: FloatArray, species: tuple[str, ...]) -> tuple[int, ...] | None:
    """For each atom its image under inversion at the origin; None where one has no image."""
    found = []
    for position, label in zip(positions, species, strict=True):
        distance = positions + position
        near = (np.abs(distance - np.rint(distance)) < _TOLERANCE).all(axis=1)
        same = [i for i in np.flatnonzero(near).tolist() if species[i] == label]
        if not same:
            return None
        found.append(same[0])
    return tuple(found)
