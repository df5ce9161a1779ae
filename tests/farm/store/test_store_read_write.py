import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from store_samples import PROTOCOL, make_eps, make_result

from farm.errors import StoreError
from farm.job import Engine, Outcome
from farm.store import StoreCounts, StoreWriter, open_store
from farm.store.record import supersedes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "spectra.h5"


def fill(path: Path, *results):
    with StoreWriter(path, clock=lambda: 1000.0) as writer:
        return [writer.append(result) for result in results]


def test_a_result_comes_back_as_it_was(path):
    sent = [
        make_result(0),
        make_result(1, n_steps=1),
        make_result(2, n_steps=0, outcome=Outcome.METAL, gap_indirect_ev=None),
        make_result(3, n_steps=0, outcome=Outcome.FAILED, stages=(), corrections=(), parameters={}),
        make_result(4, n_steps=6, outcome=Outcome.UNCONVERGED, engine=Engine.YAMBO),
    ]
    assert fill(path, *sent) == [True] * 5
    with open_store(path) as store:
        for index, result in enumerate(sent):
            back = store.result(index)
            assert back.pack() == result.pack()
            assert back.crystal == result.crystal
            assert back.gmax_converged_mry == result.gmax_converged_mry
            assert store.crystal(index).properties == result.crystal.properties
            assert json.loads(store.crystal_json(index)) == result.crystal.to_dict()
            assert store.protocol(index) == result.protocol
            assert store.stages(index) == result.stages
            assert store.reason(index) == result.reason
            assert len(store.ladder(index)) == len(result.ladder)
            for step, expected in zip(store.ladder(index), result.ladder, strict=True):
                assert step.step_similarity == expected.step_similarity
                assert np.array_equal(step.eps, expected.eps)


def test_rows_carry_the_summary(path):
    fill(path, make_result(0), make_result(1, n_steps=0, outcome=Outcome.METAL, gap_indirect_ev=None))
    with open_store(path) as store:
        full, metal = store.rows()
    ladder = make_result(0).ladder
    assert (full.material_id, full.formula, full.n_atoms) == ("crystal-0", "MgO", 2)
    assert full.job_id == make_result(0).job_id
    assert full.outcome is Outcome.DONE
    assert full.has_ipa
    assert full.has_rpa
    assert full.gap_indirect_ev == 4.25
    assert full.gap_direct_ev is None
    assert full.gmax_converged_mry == (4000, None, 2000)
    assert full.eps_inf_ipa == pytest.approx(ladder[0].eps.real[:, 0].mean())
    assert full.eps_inf_rpa == pytest.approx(ladder[-1].eps.real[:, 0].mean())
    ipa, rpa = (step.eps.imag.mean(axis=0) for step in (ladder[0], ladder[-1]))
    # The trapezoid's weights are equal but for the ends; the grid's step drops out of the ratio.
    weights = np.ones(101)
    weights[[0, -1]] = 0.5
    expected = 1 - (weights * abs(rpa - ipa)).sum() / (weights * abs(ipa)).sum()
    assert full.similarity_rpa_ipa == pytest.approx(expected)
    assert (full.cpu_s, full.wall_s, full.peak_memory_mb) == (4.25, 5.0, 310.5)
    assert full.stored_unix_s == 1000.0
    assert (metal.has_ipa, metal.eps_inf_ipa, metal.similarity_rpa_ipa, metal.gap_indirect_ev) == (
        False,
        None,
        None,
        None,
    )


def test_counts_and_keys(path):
    fill(
        path,
        make_result(0),
        make_result(0, engine=Engine.YAMBO),
        make_result(1, n_steps=1),
        make_result(2, n_steps=0, outcome=Outcome.METAL),
    )
    with open_store(path) as store:
        assert store.counts() == StoreCounts(materials=3, ipa=3, rpa=2)
        assert ("crystal-0", make_result(0).protocol_hash, "yambo") in store.keys()  # noqa: SIM118 - not a mapping
        assert len(store.keys()) == 4
        assert make_result(2).job_id in store.held_job_ids()


def test_the_same_result_twice_is_one_row(path):
    assert fill(path, make_result(0), make_result(0), make_result(1)) == [True, False, True]
    assert fill(path, make_result(1), make_result(2)) == [False, True]
    with open_store(path) as store:
        assert store.n_rows == 3


def test_append_many_drops_what_is_held_and_what_repeats(path):
    fill(path, make_result(1))
    many = [make_result(i, n_steps=i % 3) for i in range(100)]
    many[1] = make_result(1)
    with StoreWriter(path) as writer:
        assert writer.append_many([*many, many[7], many[99]]) == 99
        assert writer.n_rows == 100
    with open_store(path) as store:
        assert store.result(99).pack() == many[99].pack()
        assert store.counts().materials == 100


def test_a_retry_replaces_a_failure_and_nothing_else(path):
    failed = make_result(0, n_steps=0, outcome=Outcome.FAILED)
    partial = make_result(0, n_steps=5, outcome=Outcome.UNCONVERGED)
    done, again = make_result(0), make_result(0, gap_indirect_ev=9.0)
    assert fill(path, failed, failed, partial, failed, done, again, partial) == [
        True,
        False,
        True,
        False,
        True,
        False,
        False,
    ]
    with open_store(path) as store:
        (row,) = store.rows()
        assert (row.index, row.outcome) == (2, Outcome.DONE)
        assert [r.outcome for r in store.rows(superseded=True)] == [
            Outcome.FAILED,
            Outcome.UNCONVERGED,
            Outcome.DONE,
        ]
        assert store.counts() == StoreCounts(1, 1, 1)
        assert store.row("crystal-0") == row


@pytest.mark.parametrize("held", list(Outcome))
@pytest.mark.parametrize("new", list(Outcome))
def test_superseding_never_loses_a_final_answer(held, new):
    order = [Outcome.FAILED, Outcome.UNCONVERGED]
    kept = held in order and (new not in order or order.index(new) >= order.index(held))
    assert supersedes(new, 1, held, 2) is kept
    assert not supersedes(new, 1, held, 1)


def test_row_finds_by_material_protocol_and_engine(path):
    fill(path, make_result(0), make_result(0, engine=Engine.YAMBO))
    known = make_result(0).protocol_hash
    with open_store(path) as store:
        assert store.row("crystal-0").index == 1
        assert store.row("crystal-0", known, Engine.NATIVE).index == 0
        assert store.row("crystal-0", "0" * 64) is None
        assert store.row("crystal-1") is None


def test_spectra_come_in_the_order_asked_for(path):
    fill(path, *(make_result(i) for i in range(6)), make_result(6, n_steps=1))
    with open_store(path) as store:
        ipa, rpa = store.spectra([4, 1, 2, 4])
        assert ipa.dtype == np.complex64
        assert ipa.shape == (4, 3, 101)
        for i, number in enumerate([4, 1, 2, 4]):
            assert np.array_equal(ipa[i], make_result(number).ladder[0].eps)
            assert np.array_equal(rpa[i], make_result(number).ladder[-1].eps)
        assert store.ipa_spectra([6]).shape == (1, 3, 101)
        assert store.rpa_spectra([]).shape == (0, 3, 101)
        with pytest.raises(StoreError, match="row 6 has no RPA"):
            store.spectra([0, 6])
        with pytest.raises(StoreError, match="no row 7"):
            store.ipa_spectra([7])
        with pytest.raises(StoreError, match="no row -1"):
            store.result(-1)


def test_the_snapshot_hash_follows_content_not_order(tmp_path):
    hashes = []
    for name, numbers in (("a", (0, 1)), ("b", (1, 0)), ("c", (0, 2))):
        fill(tmp_path / name, *(make_result(i) for i in numbers))
        with open_store(tmp_path / name) as store:
            hashes.append(store.snapshot_hash())
    assert hashes[0] == hashes[1] != hashes[2]


def test_another_energy_grid_is_refused(path):
    other = {**PROTOCOL, "n_energies": 51}
    with StoreWriter(path) as writer:
        writer.append(make_result(0))
        with pytest.raises(StoreError, match="101 points from 0 to 20 eV, but crystal-1 has 51") as refused:
            writer.append(make_result(1, protocol=other))
        assert "FARM_HOME" in refused.value.fix
        assert writer.append(make_result(2))
    assert not list(path.with_name("spectra.h5.spool").iterdir())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("parameters", {"ecutwfc_ry": float("nan")}),
        ("parameters", {"grid": {1, 2}}),
        ("gap_direct_ev", float("inf")),
        ("protocol_hash", "h" * 65),
        ("protocol_hash", ""),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(path, field, value):
    with StoreWriter(path) as writer:
        with pytest.raises(StoreError, match=f"crystal-0: .*{field}"):
            writer.append(make_result(0, **{field: value}))
        assert writer.append(make_result(0))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_spectra_that_are_not_finite_are_refused(path, bad):
    result = make_result(0)
    eps = make_eps(1)
    eps[1, 5] = bad
    spoilt = type(result.ladder[1])(gmax_mry=2000, n_g=27, step_similarity=None, eps=eps)
    with StoreWriter(path) as writer, pytest.raises(StoreError, match="crystal-0: ladder"):
        writer.append(make_result(0, ladder=(result.ladder[0], spoilt)))


def test_a_closed_writer_refuses(path):
    writer = StoreWriter(path)
    writer.close()
    with pytest.raises(StoreError, match="closed"):
        writer.append(make_result(0))


def test_the_file_documents_itself(path):
    fill(path, make_result(0), make_result(1, n_steps=0, outcome=Outcome.METAL))
    with h5py.File(path) as file:
        assert file["committed"][0] == 2
        assert file["ipa/eps_imag"].shape == (2, 3, 101)
        assert file["rpa/eps_real"].attrs["axis_order"].startswith("row, direction")
        assert file["energies_ev"].attrs["units"] == "eV"
        assert file["text_offsets"].attrs["columns"].startswith("crystal, protocol")
        # No marker inside the numbers: a row without spectra takes no chunk and reads as 0.
        assert file["ipa/eps_real"].id.get_num_chunks() == 1
        assert not file["ipa/eps_imag"][1].any()
        assert file["rows"]["has_ipa"].tolist() == [True, False]

        def check(_name, item):
            if isinstance(item, h5py.Dataset):
                assert item.chunks is not None
                assert item.maxshape[0] is None
                assert item.attrs["description"]
                assert h5py.check_vlen_dtype(item.dtype) is None

        file.visititems(check)
