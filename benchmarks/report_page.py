"""How heavy is the page of `farm report --html`, and how long does it take? Prints sizes and seconds.

    OMP_NUM_THREADS=1 python benchmarks/report_page.py [HARVEST.h5] [--materials 278 1000]

HARVEST.h5 as for `transfer_on_harvest.py`. More materials than it holds are copies under other names. The
baseline is the same map data with spectra as JSON numbers of four digits on the full grid.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
import torch
from transfer_on_harvest import read_harvest

from trainer.checkpoints.registry import Registry
from trainer.data.dataset import Dataset, build_dataset
from trainer.fitting.plan import FitPlan
from trainer.fitting.recipes import RefitPlan
from trainer.fitting.refit import refit_dataset
from trainer.report.calculated import describe
from trainer.report.contents import Contents
from trainer.report.page import Report, make_report, render
from trainer.report.payload import atlas_payload
from trainer.report.predicted import ask


def copies(dataset: Dataset, n_materials: int) -> Dataset:
    """So many materials: the first ones, or all of them and copies."""
    rows = []
    for n in range(n_materials):
        row, again = dataset.rows[n % len(dataset)], n // len(dataset)
        name = f"{row.material_id}-{again}" if again else row.material_id
        rows.append(replace(row, crystal=replace(row.crystal, material_id=name)))
    return build_dataset(rows, dataset.energies_ev)


def contents_of(dataset: Dataset) -> Contents:
    """With a model that has seen one epoch: the size of a page does not depend on how good it is."""
    once = FitPlan(epochs=1, lr=1e-3, threads=1)
    plan = RefitPlan(base=once, transfer=once, similarity=None, members=1)
    with tempfile.TemporaryDirectory() as directory:
        registry = Registry(Path(directory))
        refit_dataset(copy.copy(dataset), registry, now=datetime(2026, 1, 1, tzinfo=UTC), plan=plan)
        model, card = registry.load(registry.versions()[-1])
    materials, notes = ask(describe(dataset, card), dataset.graphs, model, card)
    return Contents(
        card=card, versions=(card,), n_weights=model.n_weights, materials=materials, notes=tuple(notes)
    )


def plain_bytes(report: Report) -> int:
    """Of the data of the map with its spectra as numbers."""
    materials, embedding = report.contents.materials, report.embedding
    if materials is None or embedding is None:
        raise SystemExit("no map was made")
    payload = atlas_payload(materials, embedding)
    spectra = {"rpa": materials.rpa, "ipa": materials.ipa, "predicted": materials.predicted}
    payload["spectra"] = {
        name: [[float(f"{x:.4g}") for x in row] for row in values.tolist()]
        for name, values in spectra.items()
        if values is not None
    }
    return len(json.dumps(payload, separators=(",", ":")).encode())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("harvest", type=Path, nargs="?", default=os.environ.get("HARVEST"))
    parser.add_argument("--materials", type=int, nargs="+", default=[278, 1000])
    arguments = parser.parse_args()
    if arguments.harvest is None:
        click.echo("skipped: needs a file of computed spectra, as an argument or in HARVEST")
        return
    torch.set_num_threads(1)
    harvest = read_harvest(Path(arguments.harvest))
    click.echo(
        f"{'materials':>9s} {'held out':>8s} {'page MB':>8s} {'map MB':>8s} {'plain MB':>8s} {'ratio':>6s} "
        f"{'map CPU s':>9s} {'draw CPU s':>10s}"
    )
    for n_materials in arguments.materials:
        contents = contents_of(copies(harvest, n_materials))
        times = [time.process_time()]
        report = make_report(contents)
        times.append(time.process_time())
        page = render(report)
        times.append(time.process_time())
        if contents.materials is None or report.embedding is None:
            raise SystemExit("no map was made")
        map_data = json.dumps(atlas_payload(contents.materials, report.embedding), separators=(",", ":"))
        plain = plain_bytes(report)
        click.echo(
            f"{n_materials:9d} {contents.materials.held_out.size:8d} {len(page.encode()) / 1e6:8.2f} "
            f"{len(map_data) / 1e6:8.2f} {plain / 1e6:8.2f} {plain / len(map_data):6.1f} "
            f"{times[1] - times[0]:9.1f} {times[2] - times[1]:10.1f}"
        )


if __name__ == "__main__":
    main()
