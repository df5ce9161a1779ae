"""Does transfer from IPA to RPA pay on a few hundred materials? Prints held-out medians and CPU.

    OMP_NUM_THREADS=1 python benchmarks/transfer_on_harvest.py [HARVEST.h5] [--seeds 0 1] [--epochs 200]

HARVEST.h5 holds ``ipa_im`` and ``rpa_im`` as ``[material, direction, energy]`` and the structures as
JSON bytes. Each seed draws its own split by composition, its own weights and its own 100 materials.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import click
import h5py
import numpy as np
import torch
from pymatgen.core import Structure

from farm.crystal import Crystal
from trainer.architectures import new_model
from trainer.dataset import Dataset, TrainingRow, build_dataset
from trainer.plan import FitPlan
from trainer.recipes import FROM_SCRATCH, TRANSFER
from trainer.metrics import Score, score_ipa_as_rpa, score_model, summarise
from trainer.network import SpectrumNetwork
from trainer.optimate import OptiMateConfig
from trainer.rungs import fit_rung
from trainer.split import Split, SplitRule, split_crystals


def read_harvest(path: Path) -> Dataset:
    """The materials of the file as one dataset."""
    with h5py.File(path) as file:
        texts = [
            bytes(text[:length])
            for text, length in zip(file["structure_json"][:], file["structure_len"][:], strict=True)
        ]
        ids = [name.decode() for name in file["mat_id"][:]]
        ipa, rpa = file["ipa_im"][:], file["rpa_im"][:]
        energies_ev = file["energies_ev"][:]
    rows = [
        TrainingRow(crystal=as_stored(name, text), ipa_eps_imag=x, rpa_eps_imag=y)
        for name, text, x, y in zip(ids, texts, ipa, rpa, strict=True)
    ]
    return build_dataset(rows, energies_ev)


def as_stored(material_id: str, text: bytes) -> Crystal:
    """The cell as it was computed, not reduced once more."""
    structure = Structure.from_dict(json.loads(text))
    return Crystal.from_dict(
        {
            "material_id": material_id,
            "lattice_angstrom": structure.lattice.matrix.tolist(),
            "species": [site.specie.symbol for site in structure],
            "frac_coords": (structure.frac_coords % 1.0).tolist(),
        }
    )


def show(name: str, scores: tuple[Score, ...], cpu_s: float = 0.0, note: str = "") -> None:
    m = summarise(scores)
    click.echo(
        f"{name:24s} {m.median_sc:8.3f} {m.mean_sc:8.3f} {m.median_mse:8.3f} {m.median_mae:8.3f} "
        f"{cpu_s:7.0f} {note}",
    )


def fitted(
    name: str, model: SpectrumNetwork, rung: str, dataset: Dataset, split: Split, plan: FitPlan
) -> tuple[SpectrumNetwork, float]:
    """Fit in place; the model and user + system CPU seconds."""
    start = time.process_time()
    report = fit_rung(model, rung, dataset, split, plan)
    cpu_s = time.process_time() - start
    references = (dataset.ipa if rung == "ipa" else dataset.rpa).numpy()
    scores = score_model(model, dataset, split.held_out, references)
    show(name, scores, cpu_s, f"best epoch {report.best_epoch + 1} of {report.epochs}")
    return model, cpu_s


def one_seed(dataset: Dataset, seed: int, scratch: FitPlan, transfer: FitPlan) -> None:
    """Print the table of one split and one set of first weights."""
    scratch, transfer = replace(scratch, seed=seed), replace(transfer, seed=seed)
    split = split_crystals(dataset.crystals, SplitRule(salt=f"benchmark-{seed}"))
    click.echo(
        f"\nseed {seed}: {split.train.size} train, {split.validation.size} validation, "
        f"{split.held_out.size} held out"
    )
    click.echo(f"{'':24s} {'med SC':>8s} {'mean SC':>8s} {'med MSE':>8s} {'med MAE':>8s} {'CPU s':>7s}")
    show("DFT IPA as RPA", score_ipa_as_rpa(dataset, split.held_out))
    base, _ = fitted("base, against IPA", new_model(OptiMateConfig(), seed), "ipa", dataset, split, scratch)
    show("base as RPA", score_model(base, dataset, split.held_out, dataset.rpa.numpy()))
    learning = np.random.default_rng(seed).permutation(np.concatenate([split.train, split.validation]))
    for n_rpa in (100, split.n_learning):
        # Of the RPA spectra that there are an eighth stops the training early, as everywhere.
        chosen = set(learning[:n_rpa].tolist())
        part = Split(
            *(np.array([i for i in rows if i in chosen]) for rows in (split.train, split.validation)),
            split.held_out,
        )
        _, transfer_s = fitted(f"transfer on {n_rpa}", copy.deepcopy(base), "rpa", dataset, part, transfer)
        _, direct_s = fitted(
            f"direct on {n_rpa}", new_model(OptiMateConfig(), seed), "rpa", dataset, part, scratch
        )
        click.echo(f"{'direct / transfer CPU':24s} {direct_s / transfer_s:8.1f}")


def main() -> None:
    """Print the tables of all seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("harvest", type=Path, nargs="?", default=os.environ.get("HARVEST"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=int, default=FROM_SCRATCH.epochs, help="of fits from scratch")
    arguments = parser.parse_args()
    if arguments.harvest is None:
        click.echo("skipped: needs a file of computed spectra, as an argument or in HARVEST")
        return
    torch.set_num_threads(1)
    dataset = read_harvest(Path(arguments.harvest))
    scratch = replace(FROM_SCRATCH, epochs=arguments.epochs, threads=1)
    for seed in arguments.seeds:
        one_seed(dataset, seed, scratch, replace(TRANSFER, threads=1))


if __name__ == "__main__":
    main()
