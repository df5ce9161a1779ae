"""The spectral matrix: outer products of transition amplitudes, binned over transition energies.

chi_ij(w) = sum_t g(w, E_t) x_ti x_tj is smooth in E_t on the scale of the damping, so each transition
is shared among the four nodes around it with the weights of cubic Lagrange interpolation of g: what
is accumulated is S_ij(E_n), and chi(w) = sum_n g(w, E_n) S_ij(E_n). With nodes an eighth of the damping
apart spectra change by less than 1e-5 (linear binning at that spacing: 1e-3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farm.kpoints import FloatArray, IntArray

NODES_PER_DAMPING = 8
# Beyond the last photon energy and this many dampings g is smooth on a larger scale: nodes spread out.
_MARGIN_DAMPINGS = 8
# Amplitudes are gathered up to this size before they are sorted and multiplied.
_BUFFER_BYTES = 96 * 2**20
# A larger spectral matrix is kept in single precision (YAMBO's precision throughout).
_DOUBLE_PRECISION_BYTES = 512 * 2**20


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


class SpectralMatrix:
    """Accumulates S_ij(E_n) of one channel.

    ``matrix`` has shape ``(n_nodes, n, n)``, real symmetric; heads come first, then the functions of
    the body by |G|.
    """

    def __init__(self, nodes: EnergyNodes, size: int) -> None:
        self.nodes = nodes
        bytes_needed = nodes.count * size * size * 8
        dtype = np.float64 if bytes_needed <= _DOUBLE_PRECISION_BYTES else np.float32
        self._matrix: NDArray[np.floating] = np.zeros((nodes.count, size, size), dtype=dtype)
        self._pending: list[tuple[FloatArray, FloatArray]] = []
        self._pending_bytes = 0

    def add(self, energies: FloatArray, amplitudes: FloatArray) -> None:
        """Add transitions: energies ``(n_t,)`` in hartree, amplitudes ``(n_t, n_samples, n)``."""
        self._pending.append((energies, amplitudes))
        self._pending_bytes += amplitudes.nbytes
        if self._pending_bytes > _BUFFER_BYTES:
            self._flush()

    def finish(self) -> NDArray[np.floating]:
        """The accumulated matrix."""
        self._flush()
        return self._matrix

    def _flush(self) -> None:
        if not self._pending:
            return
        energies = np.concatenate([e for e, _ in self._pending])
        amplitudes = np.concatenate([a for _, a in self._pending])
        self._pending, self._pending_bytes = [], 0
        first, weights = self.nodes.weights(energies)
        order = np.argsort(first, kind="stable")
        first, weights = first[order], weights[order]
        cells, starts = np.unique(first, return_index=True)
        size = amplitudes.shape[-1]
        for cell, start, end in zip(cells, starts, np.append(starts[1:], first.size), strict=True):
            x = amplitudes[order[start:end]]
            weighted = weights[start:end].T[:, :, None, None] * x
            products = weighted.reshape(4, -1, size).transpose(0, 2, 1) @ x.reshape(-1, size)
            self._matrix[cell : cell + 4] += products
