"""What a row says in words: steps, diagnosis and advice beside the rest, in stores of every layout."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from store_samples import NOTHING_NEW, make_older, make_result

from farm.errors import StoreError
from farm.job import Outcome
from farm.store import StoreWriter, open_store
from farm.store.layout import LIBRARY_BOUNDS, TEXTS
from farm.store.reader import Store

FAILED = Outcome.FAILED


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "spectra.h5"


def fill(path, *results):
    with StoreWriter(path) as writer:
        return [writer.append(result) for result in results]


def test_texts_of_the_current_rows_come_in_order_of_arrival(path, monkeypatch):
    monkeypatch.setattr("farm.store.texts.BLOCK_ROWS", 2)
    failed = [make_result(i, n_steps=0, outcome=FAILED) for i in range(5)]
    retried = make_result(1)
    fill(path, *failed, retried)
    with open_store(path) as store:
        told = list(store.texts("diagnosis", "reason"))
        assert told == [(f"diagnosis_{i}", failed[i].reason) for i in (0, 2, 3, 4)] + [("", "")]
        few = store.texts_of([4, 0, 3, 4], "reason", "diagnosis")
        assert few == [(failed[i].reason, f"diagnosis_{i}") for i in (4, 0, 3, 4)]
        assert store.texts_of([], "reason") == []
        with pytest.raises(StoreError, match="no row 6"):
            store.texts_of([0, 6], "reason")
        assert store.column("material_id").tolist() == [b"crystal-%d" % i for i in (0, 2, 3, 4, 1)]
        steps = [json.loads(text or "[]") for (text,) in store.texts("steps")]
    assert [len(of_row) for of_row in steps] == [0, 0, 4, 0, 2]
    assert steps[-1] == [step.to_dict() for step in retried.steps]


def test_a_store_without_rows_has_no_texts(path):
    with StoreWriter(path) as writer:
        writer._create(make_result(0).energies_ev)
    with open_store(path) as store:
        assert list(store.texts("stages")) == []
        assert store.column("outcome").size == 0


def texts_of(store: Store) -> list[tuple[str, ...]]:
    return list(store.texts(*TEXTS))


def test_layout_2_is_read_as_it_is_and_copied_by_who_appends(path, caplog):
    caplog.set_level(logging.INFO)
    with_bands = {name: value for name, value in NOTHING_NEW.items() if name != "band_structure"}
    sent = [make_result(i, **with_bands) for i in range(4)]
    fill(path, *sent)
    make_older(path, 2)
    with open_store(path) as store:
        before = texts_of(store)
        assert [row[-3:] for row in before] == [("", "", "")] * 4
        assert [store.result(i).pack() for i in range(4)] == [result.pack() for result in sent]
    new = make_result(7, outcome=FAILED)
    assert fill(path, sent[0], new) == [False, True]
    assert "copied from layout 2 to 4: 4 rows, 0 damaged" in caplog.text
    with open_store(path) as store:
        assert texts_of(store)[:4] == before
        assert [store.result(i).pack() for i in range(5)] == [r.pack() for r in (*sent, new)]
    caplog.clear()
    assert fill(path, sent[3]) == [False]
    assert caplog.text == ""


@pytest.mark.parametrize("changed", [{"steps": ()}, {"diagnosis": "other"}, {"advice": "another"}])
def test_each_of_the_later_texts_is_news(path, changed):
    first = make_result(1, n_steps=0, outcome=FAILED)
    second = make_result(1, n_steps=0, outcome=FAILED, **changed)
    assert fill(path, first, second, second) == [True, True, False]


def test_a_damaged_diagnosis_is_found(path):
    fill(path, make_result(1, n_steps=0, outcome=FAILED))
    with h5py.File(path, "r+", libver=LIBRARY_BOUNDS) as file:
        file["text"][file["text_offsets"][0, TEXTS.index("diagnosis")]] ^= np.uint8(1)
    with open_store(path) as store, pytest.raises(StoreError, match="its checksum does not fit"):
        store.result(0)


@pytest.mark.parametrize("version", [1, 2])
def test_older_layouts_are_reported_and_shown(run, settings, version):
    # Corrections of those versions had neither evidence nor said whether they worked.
    older = SimpleNamespace(step="scf", diagnosis="broyden", remedy="shorter", changes_physics=False)
    nothing_new = NOTHING_NEW | {"corrections": (older,)}
    fill(settings.store_path, make_result(0, **nothing_new), make_result(1, outcome=FAILED, **nothing_new))
    make_older(settings.store_path, version)
    document = json.loads(run("report", "--json")[1])
    assert [stage["stage"] for stage in document["stages"]] == ["ground_state", "response", "all"]
    assert {stage["disk_mb"] for stage in document["stages"]} == {None}
    (remedy,) = document["remedies"]
    assert (remedy["tried"], remedy["not_known"], remedy["share"]) == (2, 2, None)
    (failed,) = document["not_done"]
    assert (failed["diagnosis"], failed["example"], failed["advice"]) == ("", "crystal-1", "")
    code, out, _ = run("report")
    assert (code, "(not named)" in out, "disk" in out) == (0, True, False)
    code, out, _ = run("show", "crystal-1")
    assert code == 0
    assert "scf, broyden: shorter: not known whether it worked" in out
