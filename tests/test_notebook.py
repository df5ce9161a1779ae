"""docs/spectra.ipynb runs on any store; what is committed of it is whole, and has no path of a machine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from band_samples import chance_bands

from farm.job import Engine, Job, Outcome
from farm.protocol import PRESETS
from farm.result import LadderStep, Result
from farm.store import StoreWriter

NOTEBOOK = Path(__file__).parents[1] / "docs" / "spectra.ipynb"
TEXT = NOTEBOOK.read_text(encoding="utf-8")
CELLS = json.loads(TEXT)["cells"]
SOURCES = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def outputs(kind: str) -> list[str]:
    """What cells have shown in a form."""
    shown = (output.get("data", {}) for cell in CELLS for output in cell.get("outputs", []))
    return ["".join(data[kind]) for data in shown if kind in data]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "farm-home"


def result(number: int, make_job: Callable[..., Job], **changes: Any) -> Result:
    """A crystal whose local fields matter the more the larger its number."""
    job = make_job(f"crystal-{number}")
    energies_ev = np.linspace(0.0, 20.0, PRESETS["demo"].n_energies)
    along = np.array([1.0, 1.2, 1.5])[:, None]
    ladder = tuple(
        LadderStep(
            gmax_mry=2000 * rung,
            n_g=1 + 20 * rung,
            step_similarity=(0.9, 0.8, 0.7) if rung else None,
            eps=1
            + along * 60 / ((8 + 0.2 * number * min(rung, 1)) ** 2 - energies_ev**2 - 4j * energies_ev),
        )
        for rung in range(3)
    )
    values: dict[str, Any] = {
        "crystal": job.crystal,
        "protocol": job.protocol,
        "protocol_hash": job.protocol_hash,
        "engine": Engine.NATIVE,
        "outcome": Outcome.DONE,
        "ladder": ladder,
        "gmax_converged_mry": (2000, 4000, None),
        "gap_indirect_ev": 4.0,
        "space_group": "Fm-3m",
    }
    return Result(**(values | changes))


def run_cells(store: Path, results: list[Result], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Execute the notebook on a store of ``results``; its variables, and the figures by what drew them."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    store.parent.mkdir()
    with StoreWriter(store) as writer:
        writer.append_many(results)
    monkeypatch.setenv("FARM_HOME", str(store.parent))
    scope: dict[str, Any] = {"drawn": []}
    with mpl.rc_context():
        for number, source in enumerate(SOURCES):
            exec(compile(source, f"{NOTEBOOK.name}, cell {number}", "exec"), scope)  # noqa: S102 - our own
            for figure in map(pyplot.figure, pyplot.get_fignums()):
                figure.canvas.draw()
                scope["drawn"].append(labels_of(figure))
            pyplot.close("all")
    return scope


def labels_of(figure: Any) -> dict[str, Any]:
    """Title, and the labels along x and y of its axes that have data."""
    panels = [axis for axis in figure.axes if axis.has_data()]
    return {
        "title": [t for t in (figure.get_suptitle(), *(a.get_title(loc="left") for a in panels)) if t],
        "x": {axis.get_xlabel() for axis in panels} - {""},
        "y": {axis.get_ylabel() for axis in panels} - {""},
    }


def test_it_runs_on_a_store_with_everything_in_it(home, make_job, monkeypatch):
    bands = chance_bands(3, n_points=40, n_bands=8)
    failed = {
        "ladder": (),
        "gmax_converged_mry": (None, None, None),
        "gap_indirect_ev": None,
        "space_group": "",
    }
    ipa_only = result(3, make_job)
    scope = run_cells(
        home / "spectra.h5",
        [
            result(1, make_job),
            result(5, make_job, band_structure=bands),
            replace(ipa_only, ladder=ipa_only.ladder[:1], gmax_converged_mry=(None, None, None)),
            result(6, make_job, outcome=Outcome.METAL, reason="no gap", **failed),
            result(7, make_job, outcome=Outcome.FAILED, reason="killed", **failed),
        ],
        monkeypatch,
    )
    assert scope["row"] == 1
    assert len(scope["ladder"]) == 3
    assert len(scope["known"]) == 2
    assert len(scope["drawn"]) == 5
    for figure in scope["drawn"]:
        assert figure["title"]
        assert figure["y"]
    for figure in scope["drawn"][:3]:
        assert figure["x"] == {"photon energy (eV)"}
    assert "absorption (10⁵/cm)" in scope["drawn"][1]["y"]
    assert scope["drawn"][3]["y"] == {"energy (eV)"}
    # The way it is used by hand: closed, and for a writer of this process to open.
    with StoreWriter(home / "spectra.h5") as writer:
        assert writer.n_rows == 5


def test_it_runs_without_bands(home, make_job, monkeypatch):
    scope = run_cells(home / "spectra.h5", [result(1, make_job), result(2, make_job)], monkeypatch)
    assert len(scope["drawn"]) == 4


def test_it_needs_no_torch():
    imports = "\n".join(
        line for line in "\n".join(SOURCES).splitlines() if re.match(r"(from|import) ", line)
    )
    code = f"import sys\n{imports}\nprint({{'torch', 'celery', 'redis'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_is_committed_has_run_from_top_to_bottom():
    cells = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [o for cell in cells for o in cell["outputs"] if o["output_type"] in ("error", "stream")]
    assert len(outputs("image/png")) == 5
    assert len(outputs("text/html")) == 2
    assert outputs("text/html")[0].count("<tr") >= 20


def test_what_is_committed_is_small_and_says_nothing_of_a_machine():
    assert NOTEBOOK.stat().st_size < 600_000
    written = re.sub(r'"image/png": "[^"]*"', "", TEXT)
    assert not re.search(r"/(home|root|tmp|work|Users|usr)/", written)
    assert "metadata" not in {key for cell in CELLS for key in cell.get("metadata", {})}


@pytest.mark.parametrize(
    "link", sorted(set(re.findall(r"\]\((?!http|#)([^)#]+)", "".join("".join(c["source"]) for c in CELLS))))
)
def test_every_link_leads_to_a_file(link):
    assert (NOTEBOOK.parent / link).is_file()
