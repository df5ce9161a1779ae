"""Reading of pw.x saves: every refusal says what is wrong and what mends it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from farm.errors import CalculationError, FarmError, InputError
from workers.rpa.response import ResponseRequest, compute_response
from workers.rpa.save import Save, read_save
from workers.rpa.wavefunctions import read_wavefunctions

ALAT = 7.6


def xml(**fields: object) -> str:
    values = {"uspp": "false", "lsda": "false", "so": "false", "nelec": "2.0", "occupations": "1.0 0.0"}
    values.update({key: str(value) for key, value in fields.items()})
    return """<?xml version="1.0"?><espresso><output>
<algorithmic_info><uspp>{uspp}</uspp><paw>false</paw></algorithmic_info>
<atomic_species ntyp="1"><species name="He1"><pseudo_file>He.upf</pseudo_file></species></atomic_species>
<atomic_structure nat="1" alat="7.6"><atomic_positions><atom name="He1" index="1">3.8 0 0</atom>
</atomic_positions><cell><a1>7.6 0 0</a1><a2>0 7.6 0</a2><a3>0 0 7.6</a3></cell></atomic_structure>
<basis_set><gamma_only>false</gamma_only><ecutwfc>3.0</ecutwfc></basis_set>
<magnetization><lsda>{lsda}</lsda><noncolin>false</noncolin><spinorbit>{so}</spinorbit></magnetization>
<band_structure><nelec>{nelec}</nelec><starting_k_points><nk>1</nk></starting_k_points><nks>1</nks>
<ks_energies><k_point weight="2.0">0.25 0.0 0.5</k_point><npw>3</npw>
<eigenvalues size="2">-0.5 0.25</eigenvalues><occupations size="2">{occupations}</occupations>
</ks_energies></band_structure></output></espresso>""".format(**values)


def save_with(directory: Path, **fields: object) -> Save:
    (directory / "data-file-schema.xml").write_text(xml(**fields))
    return read_save(directory)


MILLERS = np.array([[0, 0, 0], [1, 0, 0], [0, -1, 0]], dtype=np.int32)
BANDS = np.array([[1, 2j, 3], [4, 5, 6 - 1j]])
KPOINT = np.array([0.25, 0.0, 0.5]) * 2 * np.pi / ALAT


def fortran(scale: float = 1.0) -> bytes:
    head = np.array([1], np.int32).tobytes() + KPOINT.tobytes() + np.array([1, 0], np.int32).tobytes()
    records = [
        head + np.array([scale]).tobytes(),
        np.array([3, 3, 1, 2], np.int32).tobytes(),
        np.zeros(9).tobytes(),
        MILLERS.tobytes(),
        *(band.tobytes() for band in BANDS / scale),
    ]
    return b"".join(len(r).to_bytes(4, "little") + r + len(r).to_bytes(4, "little") for r in records)


def test_cell_and_bands(tmp_path: Path) -> None:
    save = save_with(tmp_path)
    assert save.kpoints == pytest.approx(np.array([[0.25, 0.0, 0.5]]))
    assert save.positions == pytest.approx(np.array([[0.5, 0.0, 0.0]]))
    assert save.reciprocal == pytest.approx(np.eye(3) * 2 * np.pi / ALAT)
    assert (save.n_bands, save.n_valence, save.species) == (2, (1,), ("He1",))
    assert save.weights.tolist() == [1.0]
    assert save.gap_direct_ev == pytest.approx(0.75 * 27.211386, abs=1e-5)
    assert save.crystal().lattice[0, 0] == pytest.approx(ALAT * 0.529177211, rel=1e-8)


def test_collinear_spins_have_bands_of_their_own(tmp_path: Path) -> None:
    text = xml(lsda="true", nelec="3.0", occupations="1.0 1.0 0.0 1.0 0.0 0.0")
    text = text.replace("-0.5 0.25", "-0.6 -0.5 0.25 -0.4 0.0 0.5")
    (tmp_path / "data-file-schema.xml").write_text(text)
    save = read_save(tmp_path)
    assert (save.n_spin, save.n_bands, save.n_valence) == (2, 3, (2, 1))
    assert save.eigenvalues[1].tolist() == [[-0.4, 0.0, 0.5]]
    # Transitions keep their spin; the lowest empty band of all is that of spin down.
    assert save.gap_direct_ev == pytest.approx(0.4 * 27.211386, abs=1e-5)
    assert save.gap_indirect_ev == pytest.approx(0.4 * 27.211386, abs=1e-5)
    assert save.top_band_min_above_vbm_ev == pytest.approx(0.65 * 27.211386, abs=1e-5)
    (tmp_path / "wfcdw1.dat").write_bytes(fortran())
    with pytest.raises(InputError, match=r"\(wfcup1\.dat\)"):
        read_wavefunctions(save, 0, 0)
    with pytest.raises(CalculationError, match="2 bands of 3 plane waves where 3 of 3"):
        read_wavefunctions(save, 0, 1)


def test_a_grid_that_pw_reduced_has_final_weights(tmp_path: Path) -> None:
    assert not save_with(tmp_path).weights_final
    text = xml().replace("<nk>1</nk>", '<monkhorst_pack nk1="2" nk2="2" nk3="2" k1="0" k2="0" k3="0"/>')
    (tmp_path / "data-file-schema.xml").write_text(text)
    assert read_save(tmp_path).weights_final


def test_an_indirect_overlap_is_a_negative_gap(tmp_path: Path) -> None:
    text = xml().replace(
        "</ks_energies>", "</ks_energies>" + xml().split("<nks>1</nks>")[1].split("</band")[0]
    )
    text = text.replace("<nks>1</nks>", "<nks>2</nks>").replace("-0.5 0.25<", "0.3 0.4<", 1)
    (tmp_path / "data-file-schema.xml").write_text(text)
    save = read_save(tmp_path)
    assert save.gap_indirect_ev == pytest.approx(-0.05 * 27.211386, abs=1e-5)
    assert save.gap_direct_ev == pytest.approx(0.1 * 27.211386, abs=1e-5)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"uspp": "true"}, InputError, "ultrasoft"),
        ({"lsda": "true", "nelec": "1.0"}, CalculationError, "no filled band of one spin"),
        ({"lsda": "true", "nelec": "3.0", "occupations": "1.0 1.0"}, CalculationError, "2 filled bands"),
        ({"so": "true"}, InputError, "spin-orbit"),
        ({"nelec": "3.0"}, CalculationError, "3 electrons.*odd"),
        ({"nelec": "4.0", "occupations": "1.0 1.0"}, CalculationError, "no empty band"),
        ({"occupations": "0.9 0.1"}, CalculationError, "fractional occupations"),
        ({"nelec": ""}, CalculationError, "lacks what pw.x writes"),
    ],
)
def test_what_cannot_be_treated(
    tmp_path: Path, fields: dict[str, str], error: type[FarmError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        save_with(tmp_path, **fields)
    assert caught.value.fix
    assert "\n" not in str(caught.value)


def test_no_save_and_half_a_save(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no data-file-schema\.xml"):
        read_save(tmp_path)
    (tmp_path / "data-file-schema.xml").write_text(xml()[:700])
    with pytest.raises(CalculationError, match="is cut short"):
        read_save(tmp_path)
    (tmp_path / "data-file-schema.xml").write_text("<espresso><input/></espresso>")
    with pytest.raises(CalculationError, match="did not finish"):
        read_save(tmp_path)


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_fortran_wavefunctions(tmp_path: Path, scale: float) -> None:
    save = save_with(tmp_path)
    (tmp_path / "wfc1.dat").write_bytes(fortran(scale))
    waves = read_wavefunctions(save, 0)
    assert np.array_equal(waves.millers, MILLERS)
    assert waves.coefficients == pytest.approx(BANDS)


def test_hdf5_wavefunctions(tmp_path: Path) -> None:
    save = save_with(tmp_path)
    with h5py.File(tmp_path / "wfc1.hdf5", "w") as file:
        file.attrs.update({"gamma_only": ".FALSE.", "npol": 1, "xk": KPOINT, "scale_factor": 1.0})
        file["MillerIndices"] = MILLERS
        file["evc"] = BANDS.view(np.float64)
    waves = read_wavefunctions(save, 0)
    assert np.array_equal(waves.millers, MILLERS)
    assert np.array_equal(waves.coefficients, BANDS)


@pytest.mark.parametrize("length", [0, 30, 100, -1, -60])
def test_truncated_wavefunctions(tmp_path: Path, length: int) -> None:
    save = save_with(tmp_path)
    (tmp_path / "wfc1.dat").write_bytes(fortran()[:length])
    with pytest.raises(CalculationError, match="is cut short"):
        read_wavefunctions(save, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gmax_mry": (2000,)}, "begin with 0"),
        ({"gmax_mry": (0, 4000, 2000)}, "ascending"),
        ({"damping_ev": 0.0}, "damping"),
        ({"energies_ev": np.array([1.0, 0.5])}, "ascending"),
        ({"green_function": "advanced"}, "no Green's function"),
    ],
)
def test_unusable_requests(changes: dict[str, object], message: str) -> None:
    base = {"gmax_mry": (0,), "energies_ev": np.linspace(0, 1, 3), "damping_ev": 0.3}
    with pytest.raises(InputError, match=message):
        ResponseRequest(**{**base, **changes})  # type: ignore[arg-type]  # fields by name


def test_touching_bands_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data-file-schema.xml").write_text(xml().replace("-0.5 0.25", "0.25 0.25"))
    header = '<PP_HEADER z_valence="2" number_of_proj="0"/>'
    mesh = "<PP_MESH><PP_R>0 1 2</PP_R><PP_RAB>1 1 1</PP_RAB></PP_MESH>"
    (tmp_path / "He.upf").write_text(f'<UPF version="2">{header}{mesh}</UPF>')
    request = ResponseRequest(gmax_mry=(0,), energies_ev=np.linspace(0, 1, 3), damping_ev=0.3)
    with pytest.raises(CalculationError, match="filled and empty bands meet"):
        compute_response(tmp_path, request)
