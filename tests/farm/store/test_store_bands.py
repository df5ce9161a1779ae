"""Band structures in the store: of every size, behind one another, and in stores older than they are."""

import logging
import multiprocessing
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from band_samples import chance_bands, silicon_bands
from store_samples import NOTHING_NEW, append_between, make_older, make_result

from farm.errors import StoreError
from farm.job import Outcome
from farm.store import StoreWriter, open_store
from farm.store.layout import LIBRARY_BOUNDS, VALUES_CHUNK


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spectra.h5"


def fill(path: Path, *results):
    with StoreWriter(path, clock=lambda: 1000.0) as writer:
        return [writer.append(result) for result in results]


def append_elsewhere(path: Path, first: int, last: int) -> None:
    """Append from another process, as HDF5 demands where this one has the file open to read."""
    child = multiprocessing.get_context("forkserver").Process(
        target=append_between, args=(str(path), first, last)
    )
    child.start()
    child.join()
    assert child.exitcode == 0


def with_bands(number: int, bands, **fields):
    return make_result(number, n_steps=2, band_structure=bands, **fields)


def test_band_structures_of_any_size_come_back(path):
    # One value less than a chunk, a chunk, one more; none in between; much, and least.
    sizes = [(5, 819), (64, 64), None, (17, 241), None, (300, 90), (4, 2)]
    sent = [with_bands(i, None if size is None else chance_bands(i, *size)) for i, size in enumerate(sizes)]
    half = len(sent) // 2
    fill(path, *sent[:half])
    with StoreWriter(path) as writer:
        assert writer.append_many(sent[half:]) == len(sent) - half
    with open_store(path) as store:
        for index, result in enumerate(sent):
            assert store.result(index).pack() == result.pack()
            held = store.band_structure(index)
            assert (held is None) == (result.band_structure is None)
            if held is not None:
                assert held.pack() == result.band_structure.pack()
        with pytest.raises(StoreError, match="no row 7"):
            store.band_structure(7)


def test_silicon_keeps_its_gaps_and_places(path):
    silicon = silicon_bands()
    fill(path, with_bands(0, silicon))
    with open_store(path) as store:
        held = store.band_structure(0)
    assert held.gap_indirect_ev == pytest.approx(silicon.gap_indirect_ev, abs=1e-5)
    assert held.gap_direct_ev == pytest.approx(silicon.gap_direct_ev, abs=1e-5)
    assert held.valence_maximum_at == "GAMMA"
    assert held.conduction_minimum_at == "between GAMMA and X"
    assert held.pieces() == silicon.pieces()


def test_they_are_found_by_a_reader_that_was_there_before(path):
    append_elsewhere(path, 0, 2)
    with open_store(path) as store:
        assert store.band_structure(0) is None
        append_elsewhere(path, 2, 6)
        assert store.refresh() == 6
        for number in range(6):
            expected = make_result(number, n_steps=1 + number % 4)
            assert store.result(number).pack() == expected.pack()


def test_a_retry_brings_its_own(path):
    first = with_bands(0, chance_bands(0), outcome=Outcome.UNCONVERGED)
    second = with_bands(0, chance_bands(1), outcome=Outcome.UNCONVERGED)
    assert fill(path, first, first, second, with_bands(0, None, outcome=Outcome.FAILED)) == [
        True,
        False,
        True,
        False,
    ]
    with open_store(path) as store:
        (row,) = store.rows()
        assert store.band_structure(row.index).pack() == chance_bands(1).pack()


def test_the_file_says_how_to_read_them(path):
    silicon = silicon_bands()
    fill(path, with_bands(0, chance_bands(0)), with_bands(1, silicon), with_bands(2, None))
    with h5py.File(path) as file:
        # As the attributes say, without this project.
        notes = file["bands/paths"].attrs
        assert "energies_ev[first_value:first_value + n_points * n_bands]" in notes["field_first_value"]
        sizes = file["bands/paths"][1]
        first, shape = sizes["first_value"], (sizes["n_points"], sizes["n_bands"])
        values = file["bands/energies_ev"]
        energies = values[first : first + shape[0] * shape[1]].reshape(shape)
        np.testing.assert_array_equal(energies, silicon.energies_ev.astype(np.float32))
        assert values.attrs["units"] == "eV"
        assert values.attrs["axis_order"].endswith("of a row: point, band")
        assert (values.compression, values.chunks) == ("gzip", (VALUES_CHUNK,))
        assert values.shape == (2 * VALUES_CHUNK,)
        labels = file["bands/corners"]["label"][sizes["first_corner"] :][: sizes["n_corners"]]
        assert tuple(label.decode() for label in labels) == silicon.labels
        assert file["bands/paths"]["n_points"].tolist() == [20, 92, 0]


@pytest.mark.parametrize(
    ("bands", "told"),
    [
        (replace(chance_bands(0), labels=("GAMMA", "X" * 33, "K", "GAMMA")), "label 'XXX"),
        (replace(chance_bands(0), labels=("GAMMA", "", "K", "GAMMA")), "label ''"),
        (replace(chance_bands(0), energies_ev=chance_bands(0).energies_ev * 1e38), "beyond float32"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(path, bands, told):
    with StoreWriter(path) as writer:
        with pytest.raises(StoreError, match=f"crystal-0: .*{told}"):
            writer.append(with_bands(0, bands))
        assert writer.append(with_bands(0, chance_bands(0)))


@pytest.fixture
def older(path) -> list:
    """What a store of layout 1 at ``path`` holds."""
    sent = [make_result(i, n_steps=1 + i % 4, **NOTHING_NEW) for i in range(5)]
    sent.append(make_result(9, n_steps=0, outcome=Outcome.METAL, **NOTHING_NEW))
    fill(path, *sent)
    make_older(path, 1)
    return sent


def test_a_store_of_layout_1_is_read_as_it_is(path, older):
    before = path.read_bytes()
    with open_store(path) as store:
        assert store.counts().materials == len(older)
        for index, result in enumerate(older):
            assert store.result(index).pack() == result.pack()
            assert store.result(index).band_structure is None
            assert store.band_structure(index) is None
        assert store.ipa_spectra([0, 1]).shape == (2, 3, 101)
        assert store.refresh() == len(older)
    assert path.read_bytes() == before


def test_who_appends_to_layout_1_copies_it_into_the_newest(path, older, caplog):
    caplog.set_level(logging.INFO)
    with open_store(path) as store:
        content = store.snapshot_hash()
        stored = [row.stored_unix_s for row in store.rows()]
    with StoreWriter(path) as writer:
        assert writer.n_rows == len(older)
        assert not writer.append(older[0])
    assert f"copied from layout 1 to 4: {len(older)} rows, 0 damaged" in caplog.text
    with open_store(path) as store:
        assert store.snapshot_hash() == content
        assert [row.stored_unix_s for row in store.rows()] == stored
    caplog.clear()
    fill(path, with_bands(20, silicon_bands()))
    assert caplog.text == ""
    with open_store(path) as store:
        assert store.band_structure(len(older)).valence_maximum_at == "GAMMA"
        for index, result in enumerate(older):
            assert store.result(index).pack() == result.pack()
    names = {entry.name for entry in path.parent.iterdir()}
    assert names == {"spectra.h5", "spectra.h5.ledger", "spectra.h5.lock", "spectra.h5.spool"}


def test_a_reader_of_layout_1_goes_on_with_it_and_finds_the_copy(path, older):
    with open_store(path) as store:
        append_elsewhere(path, 7, 8)
        assert store.result(3).pack() == older[3].pack()
        assert store.band_structure(3) is None
        assert store.refresh() == len(older) + 1
        assert store.band_structure(3) is None
        assert store.result(len(older)).pack() == make_result(7, n_steps=4).pack()


def test_a_layout_with_bands_is_damaged_without_them(path):
    fill(path, with_bands(0, None))
    with h5py.File(path, "r+", libver=LIBRARY_BOUNDS) as file:
        del file["bands/points"]
    for opening in (open_store, StoreWriter):
        with pytest.raises(StoreError, match="bands/points is missing"):
            opening(path)


def test_damage_is_a_store_error(path):
    fill(path, with_bands(0, chance_bands(0)))
    with h5py.File(path, "r+", libver=LIBRARY_BOUNDS) as file:
        sizes = file["bands/paths"][0:1]
        sizes["n_valence"] = 99
        file["bands/paths"][0:1] = sizes
    with open_store(path) as store:
        with pytest.raises(StoreError, match="band structure of row 0 failed: it is damaged: 99 of 7"):
            store.band_structure(0)
        with pytest.raises(StoreError, match="checksum"):
            store.result(0)
