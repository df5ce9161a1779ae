"""From wavefunctions to the spectral matrices: the loop over k-points, spins and transitions v -> c."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from farm.kpoints import FloatArray
from farm.spectrum import ComplexArray
from workers.rpa.device import Array, Device
from workers.rpa.gvectors import GVectors
from workers.rpa.memory import MatrixMemory
from workers.rpa.pair_density import PairDensityBox
from workers.rpa.projectors import NonlocalPotential
from workers.rpa.save import Save
from workers.rpa.spectral import EnergyNodes, SpectralMatrix
from workers.rpa.symmetry import Channel
from workers.rpa.upf import Pseudopotential
from workers.rpa.velocity import velocity
from workers.rpa.wavefunctions import WavefunctionSource

# k-points done, k-points in all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Basis:
    """What the response is expanded in: G vectors, symmetry-adapted functions, energy nodes."""

    gvectors: GVectors
    channels: tuple[Channel, ...]
    nodes: EnergyNodes
    memory: MatrixMemory


def accumulate(
    device: Device,
    save: Save,
    pseudos: dict[str, Pseudopotential],
    weights: FloatArray,
    basis: Basis,
    wavefunctions: WavefunctionSource,
    on_progress: Progress | None = None,
) -> list[list[Array]]:
    """Slabs of the spectral matrix of each channel, summed over spins and k-points of non-zero weight."""
    amplitudes = [Amplitudes(device, part) for part in basis.channels]
    memory = basis.memory
    spectral = [
        SpectralMatrix(
            device, basis.nodes, a.n_samples, a.size, dtype=memory.dtype, buffer_bytes=memory.buffer_bytes
        )
        for a in amplitudes
    ]
    used = np.flatnonzero(weights)
    box = PairDensityBox(device, save.lattice, save.cutoff, save.kpoints[used], basis.gvectors.millers)
    nonlocal_part = NonlocalPotential(save, pseudos)
    electrons_a_band = 2 // save.n_spin
    states = [(spin, index) for spin in range(save.n_spin) for index in used.tolist()]
    for done, (spin, index) in enumerate(states, start=1):
        n_valence = save.n_valence[spin]
        filled, empty = slice(0, n_valence), slice(n_valence, save.n_bands)
        waves = wavefunctions(index, spin)
        levels = save.eigenvalues[spin, index]
        # Transitions are ordered v first: t = v * n_c + c.
        energies = levels[None, empty] - levels[filled, None]
        elements = velocity(waves, save.reciprocal, nonlocal_part, empty, filled)
        heads = (elements.transpose(2, 1, 0) / energies[:, :, None]).reshape(-1, 3)
        densities = box.pair_densities(waves, n_valence) if box.n_g > 1 else None
        scale = float(np.sqrt(4 * np.pi * electrons_a_band / save.volume * weights[index]))
        for amplitude, matrix in zip(amplitudes, spectral, strict=True):
            amplitude.fill(matrix.reserve(energies.ravel()), scale, heads, densities)
        if on_progress is not None:
            on_progress(done, len(states))
    return [matrix.finish() for matrix in spectral]


class Amplitudes:
    """Amplitudes x of the transitions in one channel: real and imaginary parts of all cosets.

    ``n_samples`` rows of length ``size`` a transition: heads first, then the functions of the body.
    """

    def __init__(self, device: Device, part: Channel) -> None:
        self._device = device
        self._heads = part.heads
        self._n_cosets, self._n_heads, _ = part.heads.shape
        self._blocks = [(device.put(b.members), b.functions, device.put(b.matrix)) for b in part.blocks]
        self.n_samples = 2 * self._n_cosets
        self.size = self._n_heads + part.n_functions[-1]

    def fill(self, rows: Array, scale: float, heads: ComplexArray, densities: Array | None) -> None:
        """Write x of ``n_t`` transitions into ``rows``, shape ``(n_t, n_samples, size)``.

        heads: <c|v|v>/(e_c - e_v), shape ``(n_t, 3)``; densities: on the device, ``(n_t, n_g)``
        """
        scale /= np.sqrt(self._n_cosets)
        split = rows.reshape(len(heads), 2, self._n_cosets, self.size)
        # -i v/(e_c - e_v) is the matrix element of the real function e . r.
        head = -1j * scale * np.einsum("tx,cax->tca", heads, self._heads)
        split[:, 0, :, : self._n_heads] = self._device.put(head.real.astype(np.float32))
        split[:, 1, :, : self._n_heads] = self._device.put(head.imag.astype(np.float32))
        if densities is None:
            return
        for members, functions, matrix in self._blocks:
            body = (densities[:, members] @ matrix).reshape(len(heads), self._n_cosets, -1)
            columns = slice(self._n_heads + functions.start, self._n_heads + functions.stop)
            split[:, 0, :, columns] = scale * body.real
            split[:, 1, :, columns] = scale * body.imag
