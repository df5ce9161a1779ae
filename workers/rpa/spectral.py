"""The spectral matrix: outer products of transition amplitudes, binned over transition energies.

chi_ij(w) = sum_t g(w, E_t) x_ti x_tj is smooth in E_t on the scale of the damping, so each transition
is shared among the four nodes around it with the weights of cubic Lagrange interpolation of g: what
is accumulated is S_ij(E_n), and chi(w) = sum_n g(w, E_n) S_ij(E_n). With nodes an eighth of the damping
apart spectra change by less than 1e-5 (linear binning at that spacing: 1e-3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from farm.kpoints import FloatArray, IntArray
from workers.rpa.device import Array, Device

NODES_PER_DAMPING = 8
# Beyond the last photon energy and this many dampings g is smooth on a larger scale: nodes spread out.
_MARGIN_DAMPINGS = 8
# A matrix of several slabs costs little more than half of its square.
_SLAB_ROWS = 96


@dataclass(frozen=True, kw_only=True)
class EnergyNodes:
    """Nodes of the transition energy, all in hartree.

    Uniform up to ``uniform_end``, logarithmic with length scale ``stretch`` beyond, so that deep core
    transitions cost few nodes. Node n lies at position n + ``offset`` of the stretched axis.
    """

    spacing: float
    uniform_end: float
    stretch: float
    offset: int
    count: int

    @property
    def energies(self) -> FloatArray:
        """Energy of each node, shape ``(count,)``."""
        beyond = (self.offset + np.arange(self.count)) * self.spacing - self.uniform_end
        grown = self.stretch * np.expm1(np.maximum(beyond, 0.0) / self.stretch)
        return self.uniform_end + np.where(beyond > 0, grown, beyond)

    def weights(self, energies: FloatArray) -> tuple[IntArray, FloatArray]:
        """First of the four nodes of each energy, shape ``(n,)``, and their weights, ``(n, 4)``."""
        position = _stretched(energies, self.uniform_end, self.stretch) / self.spacing - self.offset
        cell = np.floor(position).astype(np.int64)
        u = position - cell
        weights = np.stack(
            [
                -u * (u - 1) * (u - 2) / 6,
                (u + 1) * (u - 1) * (u - 2) / 2,
                -(u + 1) * u * (u - 2) / 2,
                (u + 1) * u * (u - 1) / 6,
            ],
            axis=1,
        )
        return cell - 1, weights


def energy_nodes(lowest: float, highest: float, photon_max: float, damping: float) -> EnergyNodes:
    """Nodes for transitions between ``lowest`` and ``highest`` and photons up to ``photon_max``."""
    spacing = damping / NODES_PER_DAMPING
    uniform_end = photon_max + _MARGIN_DAMPINGS * damping
    stretch = _MARGIN_DAMPINGS * damping
    ends = _stretched(np.array([lowest, highest]), uniform_end, stretch) / spacing
    offset = int(np.floor(ends[0])) - 1
    count = int(np.floor(ends[1])) + 3 - offset
    return EnergyNodes(
        spacing=spacing, uniform_end=uniform_end, stretch=stretch, offset=offset, count=count
    )


def _stretched(energies: FloatArray, uniform_end: float, stretch: float) -> FloatArray:
    beyond = np.maximum(energies - uniform_end, 0.0)
    return np.minimum(energies, uniform_end) + stretch * np.log1p(beyond / stretch)


def slab_bounds(size: int) -> list[tuple[int, int]]:
    """Rows of each slab: a symmetric matrix is kept as the rows a to b of its first b columns."""
    return [(a, min(a + _SLAB_ROWS, size)) for a in range(0, size, _SLAB_ROWS)]


class SpectralMatrix:
    """Accumulates S_ij(E_n) of one channel.

    S is real symmetric for each of the nodes; heads come first, then the functions of the body by
    |G|. What is kept are the slabs of its lower triangle, each of shape ``(n_nodes, b - a, b)``.
    Amplitudes are single precision; their sums are double where ``dtype`` is.
    """

    def __init__(
        self,
        device: Device,
        nodes: EnergyNodes,
        n_samples: int,
        size: int,
        *,
        dtype: DTypeLike = np.float64,
        buffer_bytes: int = 64 * 2**20,
    ) -> None:
        """``n_samples`` amplitudes of length ``size`` belong to each transition."""
        self._device = device
        self.nodes = nodes
        self._bounds = slab_bounds(size)
        self._slabs = [device.zeros((nodes.count, b - a, b), dtype) for a, b in self._bounds]
        self._capacity = max(1, buffer_bytes // (4 * n_samples * size))
        self._rows = device.zeros((self._capacity, n_samples, size), np.float32)
        self._energies: list[FloatArray] = []
        self._used = 0

    def reserve(self, energies: FloatArray) -> Array:
        """Room for the amplitudes of transitions, to be filled at once: ``(n_t, n_samples, size)``.

        ``energies`` in hartree, shape ``(n_t,)``.
        """
        n = energies.size
        if self._used + n > self._capacity:
            self._flush()
        if n > self._capacity:
            self._capacity = n
            self._rows = self._device.zeros((n, *self._rows.shape[1:]), np.float32)
        self._energies.append(energies)
        self._used += n
        return self._rows[self._used - n : self._used]

    def finish(self) -> list[Array]:
        """The slabs, with everything that was added."""
        self._flush()
        return self._slabs

    def _flush(self) -> None:
        if not self._used:
            return
        first, weights = self.nodes.weights(np.concatenate(self._energies))
        order = np.argsort(first, kind="stable")
        cells, starts = np.unique(first[order], return_index=True)
        n_samples, size = self._rows.shape[1:]
        weights = self._device.put(np.repeat(weights[order].astype(np.float32), n_samples, axis=0))
        order = self._device.put(order)
        ends = [*starts[1:].tolist(), self._used]
        for cell, start, end in zip(cells.tolist(), starts.tolist(), ends, strict=True):
            x = self._rows[order[start:end]].reshape(-1, size)
            shares = weights[start * n_samples : end * n_samples]
            for j in range(4):
                weighted = (x * shares[:, j : j + 1]).T
                for (a, b), slab in zip(self._bounds, self._slabs, strict=True):
                    slab[cell + j] += weighted[a:b] @ x[:, :b]
        self._energies, self._used = [], 0
