"""docs/store.md and docs/python.md are true.

Every dataset, field, text and unit is there, and nothing else; the examples run and give what was stored.
"""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from store_samples import make_bands, make_result

from farm.cli.store import store_group
from farm.protocol import Protocol
from farm.spectrum import DIRECTIONS, energy_grid_ev
from farm.store import StoreWriter, ownership, spool
from farm.store.creation import create_file
from farm.store.frame import COLUMNS, CRYSTAL_COLUMNS, SOURCE_PREFIX
from farm.store.layout import LAYOUT_VERSION, TEXTS
from farm.store.ledger import ledger_of
from farm.store.maintenance import compact

DOCS = Path(__file__).parents[3] / "docs"
STORE_MD = (DOCS / "store.md").read_text(encoding="utf-8")
PYTHON_MD = (DOCS / "python.md").read_text(encoding="utf-8")

N_ENERGIES = 37
AXES = {"direction": len(DIRECTIONS), "energy": N_ENERGIES}
GROWING = {"row", "byte", "step", "between", "corner", "point", "value"}
UNIT_OF_SUFFIX = {"_ev": "eV", "_mry": "mRy", "_per_angstrom": "1/Å", "_mb": "MB", "_s": "s"}


def table(text: str, heading: str) -> list[dict[str, str]]:
    """The rows of the first table behind a heading, by the names of its columns."""
    lines = text[text.index(f"\n{heading}\n") :].splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("|"))
    names, _, *rows = map(cells, takewhile(lambda line: line.startswith("|"), lines[start:]))
    return [dict(zip(names, row, strict=True)) for row in rows]


def cells(line: str) -> list[str]:
    return [cell.strip().strip("`").replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> dict[str, Any]:
    """What a new store has."""
    path = tmp_path_factory.mktemp("new") / "s.h5"
    create_file(path, energy_grid_ev(N_ENERGIES))
    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.update({f"/{name}": facts(item)}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found


def facts(dataset: h5py.Dataset) -> dict[str, Any]:
    """Of one dataset what the document tells."""
    filters = [*(["shuffle"] if dataset.shuffle else [])]
    if dataset.compression:
        filters.append(f"{dataset.compression} {dataset.compression_opts}")
    return {
        "type": "table" if dataset.dtype.names else dataset.dtype.name,
        "shape": dataset.shape,
        "chunk": dataset.chunks,
        "filters": ", ".join(filters),
        "unit": dataset.attrs.get("units", ""),
        "dtype": dataset.dtype,
        "attrs": dict(dataset.attrs),
    }


def sizes(text: str) -> tuple[int, ...]:
    """A shape as the document has it: names of axes, or numbers."""
    names = text.strip("[]").split(", ")
    assert all(name.isdigit() or name in AXES or name in GROWING for name in names), text
    return tuple(int(name) if name.isdigit() else 0 if name in GROWING else AXES[name] for name in names)


def test_every_dataset_is_in_the_document_and_nothing_else(datasets):
    told = {row["dataset"]: row for row in table(STORE_MD, "## Datasets")}
    assert sorted(told) == sorted(datasets)


@pytest.mark.parametrize("told", table(STORE_MD, "## Datasets"), ids=lambda row: row["dataset"])
def test_type_shape_unit_chunk_and_filters_are_as_told(datasets, told):
    found = datasets[told["dataset"]]
    assert told["type"] == found["type"]
    assert sizes(told["shape"]) == found["shape"]
    assert sizes(told["chunk"]) == found["chunk"]
    assert told["filters"] == found["filters"]
    assert told["unit"] == found["unit"]
    assert told["what it is"]
    if (axes := found["attrs"].get("axis_order", "")) and len(found["shape"]) == 3:
        first, second, third = re.fullmatch(
            r"(\w+), (\w+) \(Cartesian x, y, z\), (\w+) \(.*\)", axes
        ).groups()
        assert told["shape"] == f"[{first}, {second}, {third}]"


@pytest.mark.parametrize(
    "name", ["/rows", "/ladder/steps", "/bands/paths", "/bands/corners", "/bands/points"]
)
def test_every_field_of_a_table_is_in_the_document(datasets, name):
    dtype, attrs = datasets[name]["dtype"], datasets[name]["attrs"]
    told = table(STORE_MD, f"### {name}")
    assert [row["field"] for row in told] == list(dtype.names)
    for row in told:
        field = dtype[row["field"]]
        kind = f"bytes {field.itemsize}" if field.kind == "S" else field.base.name
        assert row["type"] == (f"{kind} [{field.shape[0]}]" if field.shape else kind), row["field"]
        # The name of a field ends with its unit; those longer than one letter before the plain second.
        suffix = next((s for s in UNIT_OF_SUFFIX if row["field"].endswith(s)), "")
        assert row["unit"] == UNIT_OF_SUFFIX.get(suffix, ""), row["field"]
        note = str(attrs.get(f"field_{row['field']}", ""))
        first = re.split(r"[ ,;]", note)[0].replace("angstrom", "Å").replace("seconds", "s")
        if first in UNIT_OF_SUFFIX.values():
            assert row["unit"] == first, row["field"]


def test_every_text_is_in_the_document_in_its_order(datasets):
    told = table(STORE_MD, "### Texts")
    assert [(int(row["column"]), row["text"]) for row in told] == list(enumerate(TEXTS))
    assert tuple(datasets["/text_offsets"]["attrs"]["columns"].split(", ")) == TEXTS
    plain = {row["text"] for row in told if row["form"] == "text"}
    said = datasets["/text_offsets"]["attrs"]["encoding"].split("except ")[1]
    assert plain == set(re.split(r", | and ", said))


def test_versions_are_all_told():
    told = table(STORE_MD, "## Versions")
    assert [int(row["version"]) for row in told] == list(range(1, LAYOUT_VERSION + 1))
    assert f"\nLayout {LAYOUT_VERSION}." in STORE_MD


def test_what_lies_beside_the_file_is_there_while_it_is_written(tmp_path):
    path = tmp_path / "spectra.h5"
    told = {row["name"] for row in table(STORE_MD, "## Beside the file")}
    with StoreWriter(path) as writer:
        writer.append(make_result(0))
        beside = {p.name for p in tmp_path.iterdir()} - {path.name}
    named = {part.strip("` /") for cell in told for part in cell.split(",")}
    assert beside == {"spectra.h5.lock", "spectra.h5.owner", "spectra.h5.spool", "spectra.h5.ledger"}
    assert beside < named
    assert ledger_of(path).name in named
    assert spool.UNREADABLE_SUFFIX in STORE_MD
    assert f"every {ownership.TOUCH_S:g} s" in STORE_MD
    assert f"waits {ownership.LEASE_S:g} s" in STORE_MD


def test_all_commands_of_the_store_are_told():
    told = {row["command"].split()[2] for row in table(STORE_MD, "## Commands")}
    assert told == set(store_group.commands)


def test_every_test_and_script_it_names_exists():
    root = DOCS.parent
    for name in re.findall(r"`(test_\w+\.py)`", STORE_MD):
        assert (root / "tests/farm/store" / name).is_file(), name
    for name in re.findall(r"`(benchmarks/\w+\.py)`", STORE_MD):
        assert (root / name).is_file(), name


@pytest.mark.parametrize("packed", [False, True])
def test_the_example_reads_everything_with_h5py_alone(tmp_path, monkeypatch, packed):
    expected = make_result(1, n_steps=4)
    with StoreWriter(tmp_path / "spectra.h5") as writer:
        writer.append(make_result(0, n_steps=1))
        writer.append(expected)
    if packed:
        compact(tmp_path / "spectra.h5", packed=True)
    monkeypatch.chdir(tmp_path)
    (example,) = python_blocks(STORE_MD)
    assert not re.search(r"\b(farm|pandas)\b", example)
    scope: dict[str, Any] = {}
    exec(example, scope)  # noqa: S102 - our own document, and the point of the test
    assert scope["material_id"] == "crystal-1"
    assert scope["gap_ev"] == expected.gap_indirect_ev
    assert scope["crystal"] == expected.crystal.to_dict()
    assert scope["text"]["space_group"] == expected.space_group
    assert scope["energies_ev"].tolist() == expected.energies_ev.tolist()
    assert list(scope["ladder"]) == [step.gmax_mry for step in expected.ladder]
    for step in expected.ladder:
        assert np.array_equal(scope["ladder"][step.gmax_mry], step.eps)
    bands = make_bands(1)
    assert bands is not None
    assert np.array_equal(scope["bands_ev"], bands.energies_ev.astype(np.float32))
    assert scope["labels"] == list(bands.labels)


def test_the_columns_of_a_frame_are_those_of_the_document():
    for heading, columns in (
        ("## A table of all calculations", dict(COLUMNS)),
        ("`store.frame(crystal=True)` reads", dict(CRYSTAL_COLUMNS)),
    ):
        line = next(line for line in PYTHON_MD.splitlines() if line.startswith(heading))
        told = {row["column"]: row["what it says"] for row in table(PYTHON_MD, line)}
        assert told.pop(f"{SOURCE_PREFIX}...", None) is None or columns == dict(CRYSTAL_COLUMNS)
        assert told == columns


def test_the_examples_from_python_run(tmp_path, monkeypatch, capsys):
    protocol = Protocol(n_energies=101).to_dict()
    home = tmp_path / "farm-home"
    home.mkdir()
    with StoreWriter(home / "spectra.h5") as writer:
        for number in range(4):
            writer.append(make_result(number, protocol=protocol, gap_direct_ev=3.5 + number))
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    blocks = python_blocks(PYTHON_MD)
    assert len(blocks) == 6
    for block in blocks:
        exec(block, scope)  # noqa: S102 - as above
    assert capsys.readouterr().out.count("MgO") == 3
    assert scope["absorption"].shape == (4, 101)
    assert scope["batch"].rpa_eps_imag.shape == (4, 3, 101)
    assert len(scope["train"]) + len(scope["held_out"]) <= 4
    assert scope["result"].crystal.material_id == "crystal-0"
