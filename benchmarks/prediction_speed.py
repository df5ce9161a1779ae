"""How fast is a prediction? Graphs, one CIF to its spectrum, and thousands of structures at once.

    OMP_NUM_THREADS=1 python benchmarks/prediction_speed.py [STRUCTURES] [--limit 400]

STRUCTURES is an Alexandria file, or in $ALEXANDRIA; without it the bundled crystals are taken. The baseline
of each line is the published way, in the same run and on the same crystals: pymatgen reads the file and
finds the primitive cell, its neighbour list gives every edge, one Gaussian feature vector an edge, layers
of torch_geometric on all of them, one structure after the other. Medians; the results are compared too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import click
import numpy as np
import torch
from pymatgen.core import Structure
from torch_geometric.data import Data
from torch_geometric.nn import GATv2Conv

from farm.crystal import Crystal
from farm.sources import Filters, parse, read_source
from trainer.inference.predict import read_crystals
from trainer.networks.architectures import new_model
from trainer.networks.ensemble import Ensemble
from trainer.networks.graph import (
    CUTOFF_ANGSTROM,
    MAIN_GROUP_TABLE,
    N_COLUMNS,
    N_EDGE_FEATURES,
    N_NODE_FEATURES,
    crystal_graph,
    crystal_graphs,
    packed_graph,
)
from trainer.networks.network import SpectrumNetwork, predict_spectra
from trainer.networks.optimate import OptiMateConfig
from trainer.networks.oscillators import OscillatorConfig

_PLACES = {
    symbol: (row, column)
    for row, symbols in enumerate(MAIN_GROUP_TABLE)
    for column, symbol in enumerate(symbols)
    if symbol
}


def plain_graph(structure: Structure) -> Data:
    """The published graph as plainly as it is described: site by site, edge by edge."""
    features = np.zeros((len(structure), N_NODE_FEATURES), dtype=np.float32)
    for n, site in enumerate(structure):
        row, column = _PLACES[site.specie.symbol]
        features[n, column] = features[n, N_COLUMNS + row] = 1.0
    edges, attributes = [], []
    centres = np.linspace(0, CUTOFF_ANGSTROM, N_EDGE_FEATURES)
    for n, neighbours in enumerate(structure.get_all_neighbors(CUTOFF_ANGSTROM)):
        for neighbour in neighbours:
            edges.append((neighbour.index, n))
            attributes.append(np.sqrt(10 / np.pi) * np.exp(-10 * (neighbour.nn_distance - centres) ** 2))
    return Data(
        x=torch.from_numpy(features),
        edge_index=torch.tensor(edges, dtype=torch.int64).T.contiguous(),
        edge_attr=torch.from_numpy(np.array(attributes, dtype=np.float32)),
    )


@torch.no_grad()
def plain_forward(model: SpectrumNetwork, graph: Data) -> torch.Tensor:
    """The published network with the layers of torch_geometric."""
    nodes = model.mlp_init_node(graph.x)
    for layer in (model.gat1, model.gat2):
        nodes = GATv2Conv.forward(layer, nodes, graph.edge_index, graph.edge_attr)
    attention = torch.softmax(model.mlp_att(nodes), dim=0)
    spectrum = model.mlp1((nodes * attention).sum(dim=0, keepdim=True))
    return torch.nn.functional.leaky_relu(spectrum)


def median_ms(function: Callable[[object], object], items: Sequence[object]) -> float:
    """Of one call, in milliseconds; the first ones warm up."""
    for item in items[:5]:
        function(item)
    took = []
    for item in items:
        started = time.perf_counter()
        function(item)
        took.append(1e3 * (time.perf_counter() - started))
    return statistics.median(took)


def show(name: str, plain_ms: float, ours_ms: float, goal: str) -> None:
    click.echo(f"{name:34s} {plain_ms:9.2f} {ours_ms:9.2f} {plain_ms / ours_ms:7.1f}   {goal}")


def rate(model: SpectrumNetwork, crystals: Sequence[Crystal], threads: int) -> float:
    """Structures a second from crystals to spectra, graphs included: chunks in as many threads."""
    chunks = [crystals[n : n + 64] for n in range(0, len(crystals), 64)]

    @torch.inference_mode()
    def predict(chunk: Sequence[Crystal]) -> torch.Tensor:
        spectra: torch.Tensor = model(packed_graph(chunk)).clamp(min=0.0)
        return spectra

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(predict, chunks[:4]))
        started = time.perf_counter()
        list(pool.map(predict, chunks * 3))
    return 3 * len(crystals) / (time.perf_counter() - started)


def read(path: Path | None, limit: int) -> list[Crystal]:
    """Crystals that the encoding covers."""
    if path is None:
        from farm.sources.bundled import bundled_crystals

        return list(bundled_crystals())
    found = (parse(item, Filters().why_not_told) for item in read_source(path))
    return list(islice((crystal for crystal in found if isinstance(crystal, Crystal)), limit))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("structures", type=Path, nargs="?", default=os.environ.get("ALEXANDRIA"))
    parser.add_argument("--limit", type=int, default=400)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    crystals = read(Path(arguments.structures) if arguments.structures else None, arguments.limit)
    structures = [crystal.to_structure() for crystal in crystals]
    optimate = new_model(OptiMateConfig(), 0).eval()
    members = [new_model(OscillatorConfig(), seed) for seed in range(4)]
    ensemble = Ensemble(members).eval()

    click.echo(f"{len(crystals)} crystals, {np.mean([c.n_atoms for c in crystals]):.1f} sites, one thread")
    click.echo(f"{'milliseconds, medians':34s} {'plain':>9s} {'farm':>9s} {'ratio':>7s}")
    plain_ms = median_ms(plain_graph, structures)
    show("graph, one by one", plain_ms, median_ms(crystal_graph, crystals), "goal 5")
    started = time.perf_counter()
    for n in range(0, len(crystals), 64):
        crystal_graphs(crystals[n : n + 64])
    show("graph, 64 together", plain_ms, 1e3 * (time.perf_counter() - started) / len(crystals), "")
    plain, ours = [plain_graph(s) for s in structures], crystal_graphs(crystals)
    forward_ms = median_ms(lambda graph: plain_forward(optimate, graph), plain)
    show(
        "forward, OPTIMATE",
        forward_ms,
        median_ms(lambda graph: predict_spectra(optimate, [graph]), ours),
        "",
    )
    show(
        "forward, 4 oscillator networks",
        forward_ms,
        median_ms(lambda graph: predict_spectra(ensemble, [graph]), ours),
        "",
    )
    worst = max(
        float((plain_forward(optimate, a).clamp(min=0) - predict_spectra(optimate, [b])).abs().max())
        / float(plain_forward(optimate, a).abs().max())
        for a, b in zip(plain[:100], ours[:100], strict=True)
    )
    click.echo(f"OPTIMATE both ways: largest difference {worst:.1e} of the largest value")

    with tempfile.TemporaryDirectory() as folder:
        files = []
        for crystal, structure in zip(crystals[:100], structures[:100], strict=True):
            files.append(Path(folder) / f"{crystal.material_id}.cif")
            files[-1].write_text(structure.to(fmt="cif", symprec=0.01))

        def plain_shot(path: Path) -> torch.Tensor:
            structure = Structure.from_file(path, primitive=True)
            return plain_forward(optimate, plain_graph(structure))

        def our_shot(path: Path, model: SpectrumNetwork) -> torch.Tensor:
            return predict_spectra(model, [crystal_graph(next(read_crystals(path)))])

        shot_ms = median_ms(plain_shot, files)
        show(
            "CIF to spectrum, OPTIMATE",
            shot_ms,
            median_ms(lambda f: our_shot(f, optimate), files),
            "goal 4",
        )
        show(
            "CIF to spectrum, one oscillators",
            shot_ms,
            median_ms(lambda f: our_shot(f, members[0].eval()), files),
            "goal 4",
        )
        show(
            "CIF to spectrum, 4 oscillators",
            shot_ms,
            median_ms(lambda f: our_shot(f, ensemble), files),
            "goal 4",
        )

    plain_rate = 1e3 / (plain_ms + forward_ms)
    click.echo(f"\n{'structures a second':34s} {'1 core':>9s} {'2 cores':>9s} {'ratio':>7s}")
    for name, model in (
        ("OPTIMATE", optimate),
        ("one oscillator network", members[0]),
        ("4 oscillators", ensemble),
    ):
        one, two = rate(model.eval(), crystals, 1), rate(model, crystals, 2)
        click.echo(f"{name:34s} {one:9.0f} {two:9.0f} {two / plain_rate:7.1f}   goal 2000")
    click.echo(f"{'plain, one by one':34s} {plain_rate:9.0f}")


if __name__ == "__main__":
    main()
