"""What no dielectric function of an insulator can be, whoever computed it."""

from __future__ import annotations

from farm.spectrum import ComplexArray

# Im eps may undershoot zero by this share of its maximum (time-ordered damping, binning).
_NEGATIVE_SHARE = 0.01


def implausible(eps: ComplexArray) -> str | None:
    """What makes a spectrum unbelievable, in words; None when it passes.

    eps: complex, shape ``(n_energies,)``, the first at no photon energy

    Checked: Im eps positive somewhere and not below -1 % of its maximum, Re eps(0) >= 1.
    """
    largest, smallest, static = eps.imag.max(), eps.imag.min(), eps.real[0]
    if largest <= 0:
        return "Im eps is nowhere positive"
    if smallest < -_NEGATIVE_SHARE * largest:
        return f"Im eps falls to {smallest:.3g}, its maximum is {largest:.3g}"
    return f"Re eps(0) is {static:.3g}, below 1" if static < 1 else None
