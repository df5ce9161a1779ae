"""What the report reads off spectra and scores, on spectra whose answers are known."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from farm.errors import InputError
from farm.median_interval import difference_interval, median_interval
from farm.spectrum import energy_grid_ev
from trainer.report import atlas, observables
from trainer.report.contents import Materials
from trainer.report.curve import by_series
from trainer.report.curve_file import read_curve
from trainer.report.examples import at_quantiles
from trainer.report.facts import _verdict
from trainer.report.parity import parities
from trainer.report.payload import pack_spectra
from trainer.report.similarity import by_cell_size

ENERGIES_EV = energy_grid_ev()


def oscillator(resonance_ev, plasma_ev, damping_ev=0.3):
    """Im eps of one Lorentz oscillator, one row a resonance."""
    w, w0 = ENERGIES_EV[None, :], np.atleast_1d(resonance_ev)[:, None]
    return (plasma_ev**2 / (w0**2 - w**2 - 1j * damping_ev * w)).imag


def materials_of(rpa, predicted, **fields):
    n = len(rpa)
    given = {
        "ids": tuple(f"m{i}" for i in range(n)),
        "formulas": ("MgO",) * n,
        "n_atoms": np.full(n, 2),
        "groups": np.ones(n, dtype=np.int64),
        "energies_ev": ENERGIES_EV,
        "ipa": 1.2 * rpa,
        "rpa": rpa,
        "sc_ipa": np.full(n, 0.8),
        "gap_ev": (None,) * n,
        "predicted": predicted,
        "sc": None if predicted is None else np.ones(n),
    }
    return Materials(**{**given, **fields})


def test_an_oscillator_has_the_static_eps_the_peak_and_the_strength_it_was_made_with():
    spectra = oscillator([5.0, 8.0], plasma_ev=6.0)
    assert observables.static_eps(spectra, ENERGIES_EV) == pytest.approx(
        [1 + 36 / 25, 1 + 36 / 64], abs=0.01
    )
    assert observables.peak_ev(spectra, ENERGIES_EV) == pytest.approx([5.0, 8.0], abs=0.02)
    # What of the tail lies above the end of the grid is missing.
    assert observables.plasma_energy_ev(spectra, ENERGIES_EV) == pytest.approx([6.0, 6.0], rel=0.02)
    assert (observables.plasma_energy_ev(spectra, ENERGIES_EV) < 6.0).all()


def test_onset_is_interpolated_between_grid_points_and_may_be_at_zero():
    energies_ev = energy_grid_ev(21)
    ramp = np.clip(energies_ev - 3.0, 0.0, None)
    flat = np.ones_like(ramp)
    spectra = np.stack([ramp, flat])
    # A tenth of the largest, 17, is reached at 3 + 1.7 eV, between two points.
    assert observables.onset_ev(spectra, energies_ev) == pytest.approx([4.7, 0.0])


def test_parity_of_equal_spectra_has_no_error_and_ipa_has_one():
    rpa = oscillator([4.0, 5.0, 6.0, 9.0], plasma_ev=6.0)
    for parity in parities(materials_of(rpa, rpa)):
        assert parity.error == parity.bias == 0.0
    found = {p.observable.name: p for p in parities(materials_of(rpa, rpa))}
    # A spectrum 1.2 times as high has the same peak, and eps(0) - 1 that much larger.
    assert found["peak"].error_ipa == 0.0
    excess = 0.2 * np.median(found["eps0"].calculated - 1)
    assert found["eps0"].error_ipa == pytest.approx(excess)


def test_parity_tells_the_direction_of_an_error_and_a_single_outlier_does_not_set_the_axes():
    rpa = oscillator(np.linspace(4.0, 9.0, 60), plasma_ev=6.0)
    predicted = rpa.copy()
    predicted[:, :] = 0.5 * rpa
    rpa[0] *= 500.0
    eps0 = next(p for p in parities(materials_of(rpa, predicted)) if p.observable.name == "eps0")
    assert eps0.bias < 0 < eps0.error
    assert eps0.calculated.max() > 100
    assert eps0.shown[1] < 10


def test_only_held_out_materials_are_compared_and_none_without_predictions():
    rpa = oscillator([4.0, 5.0, 6.0], plasma_ev=6.0)
    some = materials_of(rpa, rpa, groups=np.array([0, 1, 2]))
    assert {p.calculated.size for p in parities(some)} == {1}
    assert parities(materials_of(rpa, None)) == ()


def test_bytes_give_spectra_back_to_half_a_level():
    spectra = {"rpa": oscillator([4.0, 7.0], 6.0), "ipa": oscillator([5.0, 9.0], 8.0)}
    spectra["rpa"][1] = 0.0
    scale, packed = pack_spectra(spectra)
    for name, values in spectra.items():
        levels = np.frombuffer(base64.b64decode(packed[name]), dtype=np.uint8).reshape(values.shape)
        again = levels / 255 * np.array(scale)[:, None]
        # Half a level, and what the scale lost when it was rounded to four digits.
        assert (np.abs(again - values).max(axis=1) <= np.array(scale) * (0.5 / 255 + 5e-4)).all()
    assert scale[0] == pytest.approx(spectra["ipa"][0].max(), rel=1e-3)
    assert pack_spectra({"rpa": np.zeros((1, 5), dtype=np.float32)})[0] == [1.0]


def test_examples_are_those_at_the_ranks():
    sc = np.random.default_rng(0).permutation(np.linspace(0.0, 1.0, 101))
    assert sc[at_quantiles(sc)].tolist() == pytest.approx([0.0, 0.1, 0.25, 0.5, 0.75, 0.9])
    assert at_quantiles(np.array([0.3, 0.1])) == [1, 0]


def test_interval_of_the_median_holds_it_narrows_and_is_always_the_same():
    values = np.random.default_rng(1).normal(0.7, 0.1, size=400).tolist()
    few, many = median_interval(values[:20]), median_interval(values)
    assert few[0] < np.median(values[:20]) < few[1]
    assert many[1] - many[0] < 0.5 * (few[1] - few[0])
    assert many == median_interval(values)
    assert median_interval(values[:4]) is None


def test_the_lead_calls_a_model_better_only_where_the_materials_tell():
    rng = np.random.default_rng(5)
    ipa = rng.uniform(0.5, 0.9, size=100)
    better, worse = difference_interval(ipa + 0.1, ipa), difference_interval(ipa - 0.1, ipa)
    assert better == pytest.approx((0.1, 0.1))
    assert worse == pytest.approx((-0.1, -0.1))
    low, high = difference_interval(rng.permutation(ipa), ipa)
    assert low < 0 < high
    assert _verdict(ipa + 0.1, ipa) == "the model is better, by 0.100 to 0.100"
    assert _verdict(ipa - 0.1, ipa) == "the model is worse, by 0.100 to 0.100"
    assert "cannot be told apart" in _verdict(rng.permutation(ipa), ipa)
    assert "cannot be told apart" in _verdict([0.9, 0.9], [0.1, 0.1])


def test_cells_of_five_atoms_and_more_stand_together():
    sizes = by_cell_size(np.array([1, 2, 2, 5, 6, 9]), np.arange(6.0))
    assert {size: sc.tolist() for size, sc in sizes.items()} == {
        "1": [0.0],
        "2": [1.0, 2.0],
        "5+": [3.0, 4.0, 5.0],
    }


def test_principal_components_are_the_two_directions_of_largest_variance():
    rng = np.random.default_rng(2)
    plane = rng.normal(size=(50, 2)) * [5.0, 2.0]
    basis = np.linalg.qr(rng.normal(size=(6, 2)))[0]
    vectors = (plane @ basis.T + 3.0).astype(np.float32)
    places = atlas.principal_components(vectors)
    centred = plane - plane.mean(axis=0)
    # Distances are kept: the vectors lie in a plane.
    wanted = np.linalg.norm(centred[:, None] - centred[None], axis=-1)
    assert np.linalg.norm(places[:, None] - places[None], axis=-1) == pytest.approx(wanted, abs=1e-4)
    assert places[:, 0].var() > places[:, 1].var()
    assert np.array_equal(places, atlas.principal_components(vectors))


def test_without_umap_the_map_says_how_to_get_it(monkeypatch):
    vectors = np.random.default_rng(3).normal(size=(30, 8)).astype(np.float32)
    monkeypatch.setattr(atlas.importlib.util, "find_spec", lambda _: None)
    found = atlas.embed(vectors)
    assert found.method == "PCA"
    assert "pip install umap-learn" in found.remark
    assert np.array_equal(found.places, atlas.principal_components(vectors))
    # Too few materials are another reason, and two no map at all.
    assert "pip" not in atlas.embed(vectors[:5]).remark
    assert atlas.embed(vectors[:2]) is None


def test_umap_keeps_neighbours_and_gives_the_same_map_twice():
    pytest.importorskip("umap")
    rng = np.random.default_rng(4)
    groups = np.repeat([0, 1, 2], 20)
    vectors = (10.0 * np.eye(3)[groups] @ rng.normal(size=(3, 8)) + rng.normal(size=(60, 8))).astype(
        np.float32
    )
    found = atlas.embed(vectors)
    assert found.method == "UMAP"
    assert found.remark == ""
    distances = np.linalg.norm(found.places[:, None] - found.places[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert np.mean(groups[distances.argmin(axis=1)] == groups) > 0.95
    assert np.array_equal(found.places, atlas.embed(vectors).places)


def curve_file(tmp_path, document):
    path = tmp_path / "curve.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_a_curve_is_read_and_seeds_stand_together(tmp_path):
    points = [
        {"kind": "direct", "n": 100, "seed": 0, "median_sc": 0.5},
        {"kind": "transfer", "n": 100, "seed": 1, "median_sc": 0.7},
        {"kind": "transfer", "n": 50, "seed": 0, "median_sc": 0.6},
        {"kind": "transfer", "n": 100, "seed": 0, "median_sc": 0.8},
        {"kind": "small-cells", "n": 50, "seed": 0, "median_sc": 0.4, "max_atoms": 3},
        {"kind": "small-cells", "n": 50, "seed": 0, "median_sc": 0.3, "max_atoms": 2, "mse": 1.0},
    ]
    curve = read_curve(curve_file(tmp_path, {"points": points, "ipa_as_rpa": 0.75}))
    # Cells of at most 2 and 3 atoms are two curves.
    assert list(by_series(curve.points).items()) == [
        (("transfer", None), {50: [0.6], 100: [0.8, 0.7]}),
        (("direct", None), {100: [0.5]}),
        (("small-cells", 2), {50: [0.3]}),
        (("small-cells", 3), {50: [0.4]}),
    ]
    assert curve.ipa_as_rpa == 0.75
    assert read_curve(curve_file(tmp_path, {"points": []})).ipa_as_rpa is None


GOOD = {"kind": "transfer", "n": 100, "seed": 0, "median_sc": 0.5}


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ("{", "not a learning curve"),
        ([], "`points`"),
        ({"points": 3}, "`points`"),
        ({"points": [GOOD, 5]}, r"points\[1\]"),
        ({"points": [{**GOOD, "kind": "guess"}]}, "kind"),
        ({"points": [{**GOOD, "n": "many"}]}, r"points\[0\]\.n"),
        ({"points": [{**GOOD, "max_atoms": "few"}]}, r"points\[0\]\.max_atoms"),
        ({"points": [{**GOOD, "n": 0}]}, r"points\[0\]\.n"),
        ('{"points": [{"kind": "direct", "n": 1, "seed": 0, "median_sc": NaN}]}', "median_sc"),
        ({"points": [GOOD], "ipa_as_rpa": True}, "ipa_as_rpa"),
    ],
)
def test_a_curve_that_cannot_be_used_is_refused_by_file_and_field(tmp_path, document, named):
    with pytest.raises(InputError, match=named) as caught:
        read_curve(curve_file(tmp_path, document))
    assert "curve.json" in caught.value.message
    assert "farm train curve" in caught.value.fix
