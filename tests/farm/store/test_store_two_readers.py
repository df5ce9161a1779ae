"""Several readers of one store in one process: each right, whatever the others do."""

from __future__ import annotations

import gc
import multiprocessing

import numpy as np
import pytest
from store_samples import append_between, inconsistencies, make_result

from farm.store import StoreWriter, open_store
from farm.store.maintenance import compact, verify

N_ROWS = 5


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "s.h5"
    with StoreWriter(path) as writer:
        writer.append_many(make_result(i, n_steps=1 + i % 4) for i in range(N_ROWS))
    return path


def test_a_second_reader_does_not_confuse_the_first(path):
    with open_store(path) as first:
        eps = first.ipa_spectra(range(N_ROWS))
        with open_store(path) as second:
            assert inconsistencies(second) == []
            assert inconsistencies(first) == []
            assert np.array_equal(first.ipa_spectra(range(N_ROWS)), eps)
        assert inconsistencies(first) == []
    assert verify(path).is_sound


def test_one_of_them_takes_in_what_is_new_and_the_other_stays_as_it_was(path):
    with open_store(path) as first, open_store(path) as second:
        child = multiprocessing.get_context("spawn").Process(
            target=append_between, args=(str(path), N_ROWS, 3 * N_ROWS)
        )
        child.start()
        child.join()
        assert first.refresh() == 3 * N_ROWS
        assert second.n_rows == N_ROWS
        assert inconsistencies(first) == inconsistencies(second) == []
        assert second.refresh() == 3 * N_ROWS
        assert inconsistencies(second) == []


def test_each_is_closed_for_itself(path):
    first, second = open_store(path), open_store(path)
    first.close()
    first.close()
    assert inconsistencies(second) == []
    second.close()
    # Nobody has it open now: HDF5 lets a writer of this process in.
    with StoreWriter(path) as writer:
        assert writer.append(make_result(N_ROWS))


def test_one_that_was_let_go_without_closing_leaves_nothing_open(path):
    store = open_store(path)
    assert store.crystal(1).material_id == "crystal-1"
    del store
    gc.collect()
    with StoreWriter(path) as writer:
        assert writer.append(make_result(N_ROWS))


def test_a_file_that_was_replaced_is_another(path):
    with open_store(path) as first:
        compact(path)
        with open_store(path) as second:
            assert inconsistencies(first) == inconsistencies(second) == []
        assert inconsistencies(first) == []
