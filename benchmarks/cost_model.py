"""Predicted against measured CPU seconds: the order, the error, and the fit behind farm/cost.py.

    python benchmarks/cost_model.py [STORE]     default: ./farm-home/spectra.h5

Prints, for each stage and in total, the Spearman rank correlation, the median relative error and the
ratio of the sums of prediction and measurement, over all materials of the store.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from farm.cost import predict_cost
from farm.job import Stage
from farm.protocol import Protocol
from farm.store import open_store


def main(path: Path) -> None:
    """Print the table."""
    if not path.is_file():
        print(f"skipped: needs a store of computed materials; {path} is none")
        return
    predicted: list[list[float]] = []
    measured: list[list[float]] = []
    with open_store(path) as store:
        for row in store.rows():
            seconds = {usage.stage: usage.cpu_s for usage in store.stages(row.index)}
            if set(seconds) != set(Stage):
                continue  # a metal or a failure: it never got to the end
            estimate = predict_cost(store.crystal(row.index), Protocol.from_dict(store.protocol(row.index)))
            predicted.append([estimate.cpu_s[stage] for stage in Stage])
            measured.append([seconds[stage] for stage in Stage])
    print(f"{len(predicted)} materials of {path}")
    print_model(np.array(predicted), np.array(measured))


def print_model(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> None:
    """The table of CPU seconds by stage, both of shape ``(n_materials, n_stages)``."""
    x, y = (np.column_stack([seconds, seconds.sum(axis=1)]) for seconds in (predicted, measured))
    print(f"{'stage':<14}{'Spearman':>9}{'median error':>14}{'sum predicted/measured':>24}")
    for column, name in enumerate([*(stage.value for stage in Stage), "total"]):
        rank = float(spearmanr(x[:, column], y[:, column]).statistic)
        error = float(np.median(np.abs(x[:, column] / y[:, column] - 1)))
        print(f"{name:<14}{rank:>9.3f}{error:>14.1%}{x[:, column].sum() / y[:, column].sum():>24.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("farm-home/spectra.h5"))
