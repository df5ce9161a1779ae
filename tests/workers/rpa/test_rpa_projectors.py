"""UPF reading, radial transforms and solid harmonics against closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import spherical_jn

from farm.errors import InputError, MissingProgramError
from workers.rpa.radial import RadialTable, radial_transform, reduced_bessel
from workers.rpa.solid_harmonics import solid_harmonics
from workers.rpa.upf import Pseudopotential, _simpson, read_upf

UPF = """<UPF version="2.0.1">
<PP_INFO> a < b & c </PP_INFO>
<PP_HEADER is_ultrasoft="{us}" is_paw="{paw}" has_so="F" z_valence="2.0" number_of_proj="2"/>
<PP_MESH><PP_R>0.0 0.1 0.2 0.3</PP_R><PP_RAB>0.1 0.1 0.1 0.1</PP_RAB></PP_MESH>
<PP_NONLOCAL>
<PP_BETA.1 angular_momentum="{angular}">0.0 1.0 2.0 0.0</PP_BETA.1>
<PP_BETA.2 angular_momentum="1">0.0 3.0 4.0 0.0</PP_BETA.2>
<PP_DIJ>2.0 0.5 0.5 -4.0</PP_DIJ>
</PP_NONLOCAL></UPF>"""


def write(directory: Path, **fields: object) -> Path:
    path = directory / "X.upf"
    path.write_text(UPF.format(**{"us": "F", "paw": "F", "angular": 1, **fields}))
    return path


def test_upf_is_read_in_hartree_with_coupled_projectors(tmp_path: Path) -> None:
    pseudo = read_upf(write(tmp_path))
    assert pseudo.angular == (1, 1)
    assert pseudo.d_ij.tolist() == [[1.0, 0.25], [0.25, -2.0]]
    assert pseudo.beta.tolist() == [[0, 1, 2, 0], [0, 3, 4, 0]]
    # An even mesh: Simpson over the first three points.
    assert pseudo.weights == pytest.approx(np.array([1, 4, 1, 0]) * 0.1 / 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"us": "T"}, "ultrasoft"), ({"paw": ".true."}, "PAW"), ({"angular": 4}, "above l = 3")],
)
def test_unusable_upf_is_refused(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_upf(write(tmp_path, **fields))


def test_absent_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(MissingProgramError, match="is missing") as caught:
        read_upf(tmp_path / "X.upf")
    assert "--pseudo-dir" in caught.value.fix
    (tmp_path / "X.upf").write_text("<PP_HEADER>\n 0 Version Number\n</PP_HEADER>")
    with pytest.raises(InputError, match="not a UPF version 2"):
        read_upf(tmp_path / "X.upf")


@pytest.mark.parametrize("l_value", [0, 1, 2, 3])
def test_radial_transform_of_a_gaussian(l_value: int) -> None:
    """int r^2 [r^l e^{-a r^2}] j_l(Kr) dr = sqrt(pi) K^l e^{-K^2/4a} / (4 (2a)^l a^{3/2})."""
    radius = np.linspace(0, 8, 1601)
    a = 0.9
    beta = (radius ** (l_value + 1) * np.exp(-a * radius**2))[None]
    pseudo = Pseudopotential(1.0, (l_value,), radius, _simpson(np.full(1601, 0.005)), beta, np.eye(1))
    k = np.array([0.0, 1e-4, 0.003, 0.1, 1.0, 4.0])
    expected = np.sqrt(np.pi) * np.exp(-(k**2) / (4 * a)) / (4 * (2 * a) ** l_value * a**1.5)
    values, slopes = radial_transform(pseudo, k)
    assert values[:, 0] == pytest.approx(expected, rel=1e-8, abs=1e-10)
    # R'(K)/K of exp(-K^2/4a).
    assert slopes[:, 0] == pytest.approx(-expected / (2 * a), rel=1e-8, abs=1e-10)
    table = RadialTable(pseudo, 4.0).at(k)
    assert table[0][0] == pytest.approx(expected, abs=1e-6 * expected[0])
    assert table[1][0] == pytest.approx(-expected / (2 * a), abs=1e-6 * expected[0])


def test_reduced_bessel_functions_are_those_of_scipy() -> None:
    x = np.concatenate([[0.0], np.geomspace(1e-8, 60, 400), [1.999999, 2.0, 2.000001]])
    found = reduced_bessel(4, x)
    limits = 1 / np.array([1.0, 3.0, 15.0, 105.0, 945.0])
    for l_value in range(5):
        far = x > 0.5  # where scipy's own values divided by x^l keep their digits
        assert found[l_value][far] == pytest.approx(
            spherical_jn(l_value, x[far]) / x[far] ** l_value, rel=1e-10, abs=1e-13
        )
        assert found[l_value][0] == limits[l_value]
        near = x < 1e-3
        series = limits[l_value] * (1 - x[near] ** 2 / (2 * (2 * l_value + 3)))
        assert found[l_value][near] == pytest.approx(series, rel=1e-12)


@pytest.mark.parametrize("l_value", [0, 1, 2, 3])
def test_solid_harmonics_are_orthonormal_harmonic_and_have_right_gradients(l_value: int) -> None:
    nodes, weights = np.polynomial.legendre.leggauss(8)
    phi = 2 * np.pi * np.arange(16) / 16
    sine = np.sqrt(1 - nodes**2)
    unit = np.stack(
        [np.outer(sine, np.cos(phi)), np.outer(sine, np.sin(phi)), np.outer(nodes, np.ones(16))], axis=-1
    ).reshape(-1, 3)
    values, gradients = solid_harmonics(l_value, unit)
    area = np.repeat(weights, 16) * 2 * np.pi / 16
    assert (values * area) @ values.T == pytest.approx(np.eye(2 * l_value + 1), abs=1e-12)
    points = np.random.default_rng(3).normal(size=(5, 3))
    for axis in range(3):
        step = 1e-5 * np.eye(3)[axis]
        up, down = (solid_harmonics(l_value, points + s * step)[0] for s in (1, -1))
        numeric = (up - down) / 2e-5
        assert solid_harmonics(l_value, points)[1][axis] == pytest.approx(numeric, abs=1e-8)
    # Euler: K . grad S = l S for a homogeneous polynomial of degree l.
    assert np.einsum("xmk,kx->mk", gradients, unit) == pytest.approx(l_value * values, abs=1e-12)
