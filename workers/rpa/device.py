"""Where the large products run: numpy on the CPU, torch on a GPU.

The kernels are written in what numpy arrays and torch tensors have in common (``@``, ``*``,
``reshape``, indexing); the few other operations are the methods here. torch is imported only for a
GPU: that alone takes longer than the response of a small crystal.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from farm.errors import InputError

# A numpy array or a torch tensor, as the device makes it.
Array = Any

DEVICES = ("cpu", "cuda")


class Device(Protocol):
    """The operations that numpy and torch spell differently."""

    name: str

    def put(self, array: NDArray[Any]) -> Array:
        """A host array on the device (the same array on the CPU)."""

    def get(self, array: Array) -> NDArray[Any]:
        """A device array on the host."""

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array of zeros on the device."""

    def matmul(self, a: Array, b: Array) -> Array:
        """Product of the last two axes, the others broadcast."""

    def solve(self, a: Array, b: Array) -> Array:
        """X of A X = B for a stack of matrices."""


class NumpyDevice:
    """The CPU."""

    name = "cpu"

    def put(self, array: NDArray[Any]) -> Array:
        return array

    def get(self, array: Array) -> NDArray[Any]:
        result: NDArray[Any] = array
        return result

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        return np.zeros(shape, dtype)

    def matmul(self, a: Array, b: Array) -> Array:
        return np.matmul(a, b)

    def solve(self, a: Array, b: Array) -> Array:
        return np.linalg.solve(a, b)


class TorchDevice:
    """A torch device: a GPU, or the CPU where tests want the same code without one."""

    def __init__(self, name: str = "cuda") -> None:
        import torch

        self.name = name
        self._torch: Any = torch

    def put(self, array: NDArray[Any]) -> Array:
        return self._torch.as_tensor(np.ascontiguousarray(array), device=self.name)

    def get(self, array: Array) -> NDArray[Any]:
        result: NDArray[Any] = array.resolve_conj().cpu().numpy()
        return result

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        kind = getattr(self._torch, np.dtype(dtype).name)
        return self._torch.zeros(shape, dtype=kind, device=self.name)

    def matmul(self, a: Array, b: Array) -> Array:
        return self._torch.matmul(a, b)

    def solve(self, a: Array, b: Array) -> Array:
        return self._torch.linalg.solve(a, b)


def open_device(name: str) -> Device:
    """The device of that name. Raises InputError for an unknown one and for a GPU that is not there."""
    if name == "cpu":
        return NumpyDevice()
    if name != "cuda":
        raise InputError(f"no device {name!r}", fix=f"Use {' or '.join(DEVICES)}")
    try:
        import torch
    except ImportError as error:
        raise InputError("a GPU needs torch, which is not installed", fix="Use cpu") from error
    if not torch.cuda.is_available():
        raise InputError("torch finds no CUDA device", fix="Use cpu, or install the CUDA build of torch")
    return TorchDevice("cuda")
