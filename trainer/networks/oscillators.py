"""A network whose spectra are those of oscillators: passive, causal, bounded by the f-sum, and tensors.

OPTIMATE draws 2001 free numbers. Here a crystal is given the one number it certainly has, its plasma
frequency, and the network distributes that strength over energies and directions:

    Im eps_ab(w) = bound w_p^2 sum_k p_k D^k_ab L_k(w),     p = softmax over k = 1..K and "elsewhere"

with ``w_p^2 = e^2 n / (eps0 m)`` of the valence electrons, ``L_k`` a damped oscillator at energy ``w_k``
whose integral of ``w L_k(w)`` is pi/2, and ``D^k`` a symmetric positive semidefinite tensor of trace 3.
So ``Im eps >= 0``, Re eps is the Kramers-Kronig transform term by term (:meth:`OscillatorNet.eps_real`),
``integral of w Im eps(w) <= pi/2 w_p^2 bound`` (Thomas-Reiche-Kuhn; ``bound`` leaves room for d shells and
nonlocal pseudopotentials), and the mean over directions is the isotropic spectrum.

``D^k`` mixes the unit tensor with weighted means of ``r r^T`` over the bonds and their complements. These
turn with the crystal and have its symmetry, whatever the weights are: a cubic crystal is isotropic and a
uniaxial one has two equal directions without having seen either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import silu
from torch_geometric.data import Data

from farm.units import BOHR_ANGSTROM, HARTREE_EV
from trainer.networks.graph import N_COLUMNS, N_EDGE_FEATURES, N_NODE_FEATURES
from trainer.networks.layers import ShellAttention, segment_softmax, segment_sum, segments
from trainer.networks.network import NetworkConfig, SpectrumNetwork

# (hbar w_p)^2 of one electron a cubic angstrom, eV^2: 4 pi n in atomic units.
PLASMA_EV2_ANGSTROM3 = 4.0 * math.pi * HARTREE_EV**2 * BOHR_ANGSTROM**3
# Valence electrons by column of the main-group table.
_VALENCE = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)


@dataclass(frozen=True, kw_only=True)
class OscillatorConfig(NetworkConfig):
    """Widths of the network, and its oscillators.

    width:          numbers a site
    layers, heads:  of message passing
    hidden:         hidden widths of the network that distributes the strength
    n_oscillators:  at even distances up to ``reach`` times the end of the grid. Above the grid spectra
                    say nothing of them: strength there belongs to "elsewhere", and a real part without it
                    is that of what absorbs on the grid
    damping_ev:     of each; not above that of the spectra, which are then sums of these
    bound:          of the f-sum, in those of the valence electrons
    n_tensors:      weighted means of bond directions
    n_bands:        energies at which directions are mixed anew; oscillators between take what lies between
    dropout:        share of hidden numbers that a step of training leaves out
    energy_max_ev:  end of the photon energy grid
    """

    architecture: ClassVar[str] = "oscillators"

    width: int = 128
    layers: int = 3
    heads: int = 4
    hidden: tuple[int, ...] = (512, 512)
    n_oscillators: int = 128
    reach: float = 1.0
    damping_ev: float = 0.2
    bound: float = 1.5
    n_tensors: int = 8
    n_bands: int = 20
    dropout: float = 0.0
    n_energies: int = 2001
    energy_max_ev: float = 20.0

    @property
    def pooled_width(self) -> int:
        """Numbers that a crystal is summed up in."""
        return 2 * self.width + 3


class OscillatorNet(SpectrumNetwork):
    """Im eps of a crystal, isotropic (:meth:`forward`) or along x, y, z (:meth:`diagonal`)."""

    has_directions = True
    shapes: Tensor
    real_shapes: Tensor
    valence: Tensor
    between: Tensor

    def __init__(self, config: OscillatorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or OscillatorConfig()
        width = config.width
        self.embed = torch.nn.Sequential(
            torch.nn.Linear(N_NODE_FEATURES, width), torch.nn.SiLU(), torch.nn.Linear(width, width)
        )
        self.attention = torch.nn.ModuleList(
            ShellAttention(width, width // config.heads, config.heads) for _ in range(config.layers)
        )
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(width) for _ in range(config.layers))
        self.mixers = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.Linear(width, width), torch.nn.SiLU(), torch.nn.Linear(width, width)
            )
            for _ in range(config.layers)
        )
        self.site_logits = torch.nn.Linear(width, width)
        layers: list[torch.nn.Module] = []
        last = config.pooled_width
        for hidden in config.hidden:
            layers += [torch.nn.Linear(last, hidden), torch.nn.SiLU(), torch.nn.Dropout(config.dropout)]
            last = hidden
        self.trunk = torch.nn.Sequential(torch.nn.LayerNorm(config.pooled_width), *layers)
        self.strengths = torch.nn.Linear(last, config.n_oscillators + 1)
        self.bond_logits = torch.nn.Sequential(
            torch.nn.Linear(2 * width + N_EDGE_FEATURES, width),
            torch.nn.SiLU(),
            torch.nn.Linear(width, config.n_tensors),
        )
        self.tensors = torch.nn.Linear(last, config.n_bands * (2 * config.n_tensors + 1))
        shapes = oscillator_shapes(config)
        self.register_buffer("shapes", shapes.imag.float(), persistent=False)
        self.register_buffer("real_shapes", shapes.real.float(), persistent=False)
        self.register_buffer("between", between_bands(config), persistent=False)
        self.register_buffer("valence", torch.tensor(_VALENCE), persistent=False)

    def forward(self, graph: Data, every: int = 1) -> Tensor:
        """Im of a third of the trace, ``(n_graphs, n_energies)``."""
        return self._strengths(graph, self.trunk(self.pooled(graph))) @ self.shapes[:, ::every]

    def pooled(self, graph: Data) -> Tensor:
        """Mean and chosen sites, then size, electron density and electrons a site."""
        return self._pooled(graph)[0]

    def _pooled(self, graph: Data) -> tuple[Tensor, Tensor]:
        batch, n_graphs = segments(graph)
        nodes = self.embed(graph.x)
        for attention, norm, mixer in zip(self.attention, self.norms, self.mixers, strict=True):
            nodes = nodes + attention(norm(nodes), graph.edge_index, graph.edge_attr, graph.edge_count)
            nodes = nodes + mixer(silu(nodes))
        weights = segment_softmax(self.site_logits(nodes), batch, n_graphs)
        counts = segment_sum(torch.ones_like(batch, dtype=nodes.dtype), batch, n_graphs)
        mean = segment_sum(nodes, batch, n_graphs) / counts[:, None]
        chosen = segment_sum(nodes * weights, batch, n_graphs)
        electrons = segment_sum(graph.x[:, :N_COLUMNS] @ self.valence, batch, n_graphs)
        known = torch.stack(
            [
                (graph.volume / counts).log() - 3.0,
                (electrons / graph.volume).log() + 1.5,
                electrons / counts - 4.0,
            ],
            dim=1,
        )
        return torch.cat([mean, chosen, known], dim=1), nodes

    def _strengths(self, graph: Data, hidden: Tensor) -> Tensor:
        batch, n_graphs = segments(graph)
        electrons = segment_sum(graph.x[:, :N_COLUMNS] @ self.valence, batch, n_graphs)
        plasma_ev2 = PLASMA_EV2_ANGSTROM3 * electrons / graph.volume
        share = self.strengths(hidden).softmax(dim=1)[:, :-1]
        strengths: Tensor = self.config.bound * plasma_ev2[:, None] * share
        return strengths

    def diagonal(self, graph: Data, every: int = 1) -> Tensor:
        """Im eps along x, y, z, ``(n_graphs, 3, n_energies)``."""
        pooled, nodes = self._pooled(graph)
        hidden = self.trunk(pooled)
        strengths = self._strengths(graph, hidden)
        tensors = self.anisotropy(graph, nodes, hidden)[:, :, :3]
        return (strengths[:, None, :] * tensors.transpose(1, 2)) @ self.shapes[:, ::every]

    def eps_real(self, graph: Data) -> Tensor:
        """Re of a third of the trace, ``(n_graphs, n_energies)``: the Kramers-Kronig transform of the
        oscillators, their tails above the end of the grid included."""
        strengths = self._strengths(graph, self.trunk(self.pooled(graph)))
        real: Tensor = 1.0 + strengths @ self.real_shapes
        return real

    def anisotropy(self, graph: Data, nodes: Tensor, hidden: Tensor) -> Tensor:
        """The tensor of each oscillator, trace 3, ``(n_graphs, n_oscillators, 6)`` as graph.VOIGT."""
        batch, n_graphs = segments(graph)
        source, target = graph.edge_index
        bonds = torch.cat([nodes[source], nodes[target], graph.edge_attr], dim=1)
        logits = self.bond_logits(bonds) + graph.edge_count.log()[:, None]
        weights = segment_softmax(logits, batch[target], n_graphs)
        # (n_graphs, n_tensors, 6), trace 1
        means = segment_sum(weights[:, :, None] * graph.edge_direction[:, None, :], batch[target], n_graphs)
        unit = means.new_tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]).expand(n_graphs, 1, 6)
        basis = torch.cat([unit, 3.0 * means, 1.5 * (unit - means)], dim=1)
        mix = self.tensors(hidden).view(n_graphs, self.config.n_bands, -1).softmax(dim=2)
        tensors: Tensor = self.between @ (mix @ basis)
        return tensors


def oscillator_energies_ev(config: OscillatorConfig) -> Tensor:
    """Where the oscillators are, float64 ``(n_oscillators,)``, eV."""
    top = config.reach * config.energy_max_ev
    return torch.arange(1, config.n_oscillators + 1, dtype=torch.float64) * top / config.n_oscillators


def oscillator_shapes(config: OscillatorConfig) -> Tensor:
    """Each oscillator of unit strength, complex128 ``(n_oscillators, n_energies)``, 1/eV^2.

    L(w) = (1 / 2 w_k) [1 / (w_k - w - i g) + 1 / (w_k + w + i g)]: retarded, so that its real part is the
    Kramers-Kronig transform of the imaginary one.
    """
    w = torch.linspace(0.0, config.energy_max_ev, config.n_energies, dtype=torch.float64)[None, :]
    w_k = oscillator_energies_ev(config)[:, None]
    damped = torch.complex(w, torch.full_like(w, config.damping_ev))
    return (1.0 / (w_k - damped) + 1.0 / (w_k + damped)) / (2.0 * w_k)


def between_bands(config: OscillatorConfig) -> Tensor:
    """Linear interpolation from bands to oscillators, ``(n_oscillators, n_bands)``; rows sum to 1."""
    place = torch.linspace(0.0, config.n_bands - 1.0, config.n_oscillators)
    return (1.0 - (place[:, None] - torch.arange(config.n_bands)).abs()).clamp(min=0.0)
