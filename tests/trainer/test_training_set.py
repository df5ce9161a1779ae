"""From the store to tensors: what counts, what is barred, and a hash that tells sets apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from farm.errors import InputError, StoreError
from farm.job import Engine, Outcome
from farm.protocol import Protocol
from farm.result import Correction, LadderStep, Result
from farm.spectrum import energy_grid_ev
from farm.store import StoreWriter, open_store
from trainer.data.dataset import build_dataset, choose_rows, load_dataset

PROTOCOL = Protocol(n_energies=41)
OTHER = Protocol(n_energies=41, ecutwfc_ry=70)


def make_result(row, *, protocol=PROTOCOL, **changes) -> Result:
    """A finished calculation with the row's spectra."""
    steps = [
        LadderStep(gmax_mry=gmax, n_g=n_g, step_similarity=None, eps=1.0 + 1j * np.asarray(s, dtype=float))
        for gmax, n_g, s in ((0, 1, row.ipa_eps_imag), (2000, 9, row.rpa_eps_imag))
    ]
    result = Result(
        crystal=row.crystal,
        protocol=protocol.to_dict(),
        protocol_hash=protocol.hash,
        engine=Engine.NATIVE,
        outcome=Outcome.DONE,
        ladder=tuple(steps),
        gmax_converged_mry=(2000, 2000, 2000),
    )
    return replace(result, **changes)


def ipa_result(row, protocol=PROTOCOL) -> Result:
    """The same calculation without local fields."""
    whole = make_result(row, protocol=protocol.ipa_only())
    return replace(whole, ladder=whole.ladder[:1], gmax_converged_mry=(None, None, None))


@pytest.fixture
def rows(dataset_of):
    return dataset_of(8).rows


def write(path, results):
    with StoreWriter(path) as writer:
        for result in results:
            assert writer.append(result)


def test_store_comes_back_with_its_directions(tmp_path, rows):
    write(tmp_path / "s.h5", [make_result(row) for row in rows])
    dataset = load_dataset(tmp_path / "s.h5")
    assert [row.material_id for row in dataset.rows] == [row.material_id for row in rows]
    assert dataset.protocol_hashes == (PROTOCOL.hash,)
    assert np.array_equal(dataset.energies_ev, energy_grid_ev(41))
    ipa, rpa = (np.stack([getattr(row, f"{rung}_eps_imag") for row in rows]) for rung in ("ipa", "rpa"))
    assert np.allclose(dataset.ipa_diagonal, ipa, atol=1e-5)
    assert np.allclose(dataset.rpa_diagonal, rpa, atol=1e-5)
    assert np.allclose(dataset.rpa, rpa.mean(axis=1), atol=1e-5)
    apart = np.abs(ipa.mean(axis=1) - rpa.mean(axis=1)).sum(axis=1) / rpa.mean(axis=1).sum(axis=1)
    assert np.allclose(dataset.similarity[:, 0], 1 - apart, atol=0.02)
    assert [g.num_nodes for g in dataset.graphs] == [2] * 8


def test_only_sound_rows_of_one_protocol_count(tmp_path, rows):
    harmful = Correction(step="scf", diagnosis="d", remedy="smearing", changes_physics=True)
    harmless = replace(harmful, changes_physics=False)
    write(
        tmp_path / "s.h5",
        [
            make_result(rows[0]),
            make_result(rows[1], corrections=(harmless,)),
            make_result(rows[2], corrections=(harmful,)),
            make_result(rows[3], outcome=Outcome.UNCONVERGED, reason="ladder ended"),
            make_result(rows[4], outcome=Outcome.METAL, reason="no gap", ladder=()),
            make_result(rows[5], protocol=OTHER),
            # The same material from the other engine: once is enough, and the native one counts.
            make_result(rows[0], engine=Engine.YAMBO),
        ],
    )
    dataset = load_dataset(tmp_path / "s.h5")
    assert {row.material_id for row in dataset.rows} == {rows[0].material_id, rows[1].material_id}
    only = load_dataset(tmp_path / "s.h5", OTHER.hash)
    assert [row.material_id for row in only.rows] == [rows[5].material_id]
    with open_store(tmp_path / "s.h5") as store:
        assert {row.engine for row in choose_rows(store.rows())} == {Engine.NATIVE}


def test_no_store_is_a_store_error(tmp_path):
    with pytest.raises(StoreError, match="no store"):
        load_dataset(tmp_path / "none.h5")


def test_hash_depends_on_content_and_not_on_order(rows):
    grid = energy_grid_ev(41)
    first = build_dataset(rows, grid).hash
    assert build_dataset(rows[::-1], grid).hash == first
    assert build_dataset(rows[:-1], grid).hash != first
    changed = replace(rows[0], rpa_eps_imag=rows[0].rpa_eps_imag + np.float32(1e-3))
    assert build_dataset([changed, *rows[1:]], grid).hash != first
    assert build_dataset([replace(rows[0], protocol_hash="q"), *rows[1:]], grid).hash != first


def test_what_the_model_cannot_learn_from_is_named(rows, rock_salt):
    zero = np.zeros((3, 41), dtype=np.float32)
    bad = [
        replace(rows[0], crystal=rock_salt("Ti", "O")),
        replace(rows[1], rpa_eps_imag=zero),
        replace(rows[2], ipa_eps_imag=np.full((3, 41), np.nan, dtype=np.float32)),
        replace(rows[3], ipa_eps_imag=zero[:, :-1]),
    ]
    dataset = build_dataset([*bad, *rows[4:]], energy_grid_ev(41))
    assert len(dataset) == len(rows) - 4
    assert len(dataset.rejected) == 4
    for row, reason in zip(sorted(bad, key=lambda r: r.material_id), dataset.rejected, strict=True):
        assert reason.startswith(row.material_id)


def test_a_material_stands_there_once(rows):
    with pytest.raises(InputError, match="twice"):
        build_dataset([rows[0], rows[0]], energy_grid_ev(41))


def test_nothing_is_a_dataset_too():
    dataset = build_dataset([])
    assert len(dataset) == 0
    assert dataset.ipa.shape == (0, 2001)


def test_ipa_alone_teaches_the_base(tmp_path, rows):
    both, alone = rows[:5], rows[5:]
    # Of a material that has both, IPA alone adds nothing; under another protocol it is something else.
    other = replace(alone[0], crystal=replace(alone[0].crystal, material_id="other"))
    written = [ipa_result(row) for row in (*alone, both[0])] + [ipa_result(other, OTHER)]
    write(tmp_path / "s.h5", [*(make_result(row) for row in both), *written])
    dataset = load_dataset(tmp_path / "s.h5")
    assert [row.material_id for row in dataset.rows] == [row.material_id for row in rows]
    assert [row.material_id for row in dataset.with_rpa.rows] == [row.material_id for row in both]
    with pytest.raises(InputError, match="3 materials have no RPA"):
        _ = dataset.rpa
    assert dataset.hash != dataset.with_rpa.hash
    with open_store(tmp_path / "s.h5") as store:
        assert len(choose_rows(store.rows())) == 5


def test_a_store_of_ipa_alone_is_all_base(tmp_path, rows):
    write(tmp_path / "s.h5", [ipa_result(row) for row in rows])
    dataset = load_dataset(tmp_path / "s.h5")
    assert (len(dataset), len(dataset.with_rpa)) == (len(rows), 0)
