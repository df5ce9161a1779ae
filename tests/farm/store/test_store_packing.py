"""Packed spectra: the same bits, fewer bytes; with numpy alone, as the file says."""

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from farm.spectrum import energy_grid_ev
from farm.store.creation import create_file
from farm.store.packing import pack, unpack

ANY_FLOAT32 = arrays(
    np.uint32, array_shapes(min_dims=1, max_dims=3, max_side=9), elements=st.integers(0, 2**32 - 1)
)


@given(ANY_FLOAT32)
def test_every_float32_comes_back_to_the_bit(bits):
    eps = bits.view(np.float32)
    packed = pack(eps)
    assert packed.dtype == np.int32
    assert packed.shape == eps.shape
    assert np.array_equal(unpack(packed).view(np.uint32), bits)


def test_a_smooth_spectrum_gives_small_numbers_also_where_it_changes_sign():
    energies = energy_grid_ev()
    eps = (1 + 20 / (36 - energies**2 - 0.3j * energies)).real.astype(np.float32)
    assert eps.min() < 0 < eps.max()
    bits_of_floats = 32
    bits_of_packed = np.log2(1 + np.abs(pack(eps)[2:].astype(np.float64))).mean()
    assert bits_of_packed < bits_of_floats / 2.5


@pytest.mark.parametrize("name", ["ipa/eps_real", "ladder/eps_imag"])
def test_the_file_says_how_to_unpack(tmp_path, name):
    path = tmp_path / "packed.h5"
    create_file(path, energy_grid_ev(11, 2.0), packed=True)
    eps = np.linspace(-1, 3, 33, dtype=np.float32).reshape(1, 3, 11)
    with h5py.File(path, "r+") as file:
        file[name].resize(1, axis=0)
        file[name][:] = pack(eps)
    with h5py.File(path) as file:
        said, packed = file[name].attrs["how_to_unpack"], file[name][:]
    steps = said.replace(" viewed as float32", ".view('float32')").split("; ")
    scope = {"packed": packed, "cumsum": np.cumsum, "int32": np.int32}
    for step in steps:
        exec(step, scope)  # noqa: S102 - our own attribute, and the point of the test
    assert np.array_equal(scope["eps"], eps)
