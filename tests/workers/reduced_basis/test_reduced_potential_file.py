"""Reading what pp.x wrote: order of the points, units, padding, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from farm.errors import CalculationError
from farm.kpoints import FloatArray
from workers.reduced_basis.potential import read_local_potential

SIZES = (2, 3, 4)
VALUES = np.arange(24, dtype=np.float64).reshape(SIZES) - 7.5  # rydberg


def written(
    path: Path, values: FloatArray = VALUES, *, ibrav: int = 0, plot_num: int = 1, pad: int = 0
) -> Path:
    """As pp.x of Quantum ESPRESSO 6.7 does, for two species and three atoms."""
    padded = np.pad(values, ((0, pad), (0, 0), (0, 0)), constant_values=99.0)
    cell = ["  0.0 0.5 0.5", "  0.5 0.0 0.5", "  0.5 0.5 0.0"] if ibrav == 0 else []
    numbers = [f"{x:17.9E}" for x in padded.ravel(order="F")]
    lines = [
        " ",
        "".join(f"{n:8d}" for n in (*padded.shape, *values.shape, 3, 2)),
        f"{ibrav:6d}" + "".join(f"{x:16.8f}" for x in (6.74, 0, 0, 0, 0, 0)),
        *cell,
        f"{69.055:20.10f}{4.0:20.10f}{30.0:20.10f}{plot_num:6d}",
        "   1   Li    3.00",
        "   2   F     7.00",
        *(f"{i:4d}   0.0   0.0   0.{i}   1" for i in (1, 2, 3)),
        *("".join(numbers[i : i + 5]) for i in range(0, len(numbers), 5)),
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("ibrav", [0, 2])
@pytest.mark.parametrize("pad", [0, 1])
def test_values_in_hartree_on_the_points_of_the_mesh(tmp_path: Path, ibrav: int, pad: int) -> None:
    found = read_local_potential(written(tmp_path / "v.dat", ibrav=ibrav, pad=pad))
    assert found.shape == SIZES
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, VALUES / 2, atol=1e-9)


def test_another_quantity(tmp_path: Path) -> None:
    with pytest.raises(CalculationError, match="plot_num 0"):
        read_local_potential(written(tmp_path / "v.dat", plot_num=0))


def test_cut_short_anywhere(tmp_path: Path) -> None:
    lines = written(tmp_path / "v.dat").read_text().splitlines()
    for n in range(len(lines)):
        (tmp_path / "v.dat").write_text("\n".join(lines[:n]))
        with pytest.raises(CalculationError, match=r"v\.dat is no local potential") as caught:
            read_local_potential(tmp_path / "v.dat")
        assert "plot_num = 1" in caught.value.fix


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("5.000000000E-01", "*****************"),
        ("5.000000000E-01", "NaN"),
        ("5.000000000E-01", "Infinity"),
        ("5.000000000E-01", ""),
        ("5.000000000E-01", "5.000000000E-01 1.0"),
    ],
)
def test_numbers_that_are_none_or_too_few_or_too_many(tmp_path: Path, old: str, new: str) -> None:
    path = written(tmp_path / "v.dat")
    text = path.read_text()
    assert text.count(f" {old}") == 1
    path.write_text(text.replace(f" {old}", f" {new}"))
    with pytest.raises(CalculationError, match="is no local potential"):
        read_local_potential(path)


def test_no_such_file_and_files_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "words").write_text("one\ntwo words\nthree\nfour\nfive\n")
    for name in ("absent", "empty", "binary", "words", "."):
        with pytest.raises(CalculationError, match="is no local potential"):
            read_local_potential(tmp_path / name)
