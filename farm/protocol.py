"""Every parameter of a calculation, and its hash.

Two results with the same protocol hash can be compared number by number. Fields are of two kinds:
*physics* changes the converged answer, *numerics* only how it is reached (mixing, thresholds,
bounds of a ladder). Both are hashed: parameters recorded are parameters used.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from farm.errors import ProtocolError

# Beyond these nobody means it: a slip of the keyboard would fill memory and disk.
_MOST_KPPA = 1_000_000
_MOST_ENERGIES = 200_001

Kind = Literal["physics", "numerics"]

# Fields that say nothing where there are no local fields.
_LADDER = ("gmax_step_mry", "similarity_threshold")


def _field(default: Any, unit: str, kind: Kind, text: str, **bounds: Any) -> Any:
    """A protocol field with its unit and kind in the JSON schema."""
    return Field(
        default=default, description=text, json_schema_extra={"unit": unit, "kind": kind}, **bounds
    )


class Protocol(BaseModel):
    """A frozen set of calculation parameters; the defaults are the published protocol.

    Grunert, Grossmann, Runge, Nat. Commun. 16, 8142 (2025).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    functional: Literal["PBE"] = _field("PBE", "", "physics", "exchange and correlation")
    pseudopotentials: Literal["SG15-1.2-SR"] = _field(
        "SG15-1.2-SR", "", "physics", "scalar-relativistic optimised norm-conserving Vanderbilt set"
    )

    ecutwfc_ry: int = _field(60, "Ry", "physics", "plane-wave cutoff, first of its ladder", ge=20)
    ecutwfc_step_ry: int = _field(5, "Ry", "numerics", "step of the cutoff ladder", ge=1)
    ecutwfc_max_ry: int = _field(120, "Ry", "numerics", "end of the cutoff ladder", ge=20)
    ecutrho_per_ecutwfc: float = _field(4.0, "", "physics", "density cutoff over ecutwfc", ge=2, le=8)
    ground_state_kppa: int = _field(
        1500, "k-points times atoms", "physics", "ground-state grid, first of its ladder", ge=1
    )
    ground_state_kppa_max: int = _field(
        12000,
        "k-points times atoms",
        "numerics",
        "end of the ground-state grid ladder",
        ge=1,
        le=_MOST_KPPA,
    )
    energy_tolerance_kcal_mol: float | None = _field(
        1.0, "kcal/mol per atom", "physics", "total-energy convergence; null: no ladder, one scf", gt=0
    )
    scf_threshold_ry: float = _field(1e-10, "Ry", "numerics", "conv_thr of the scf cycle", gt=0)
    max_scf_iterations: int = _field(100, "", "numerics", "electron_maxstep", ge=1)

    bands: Literal["reduced-basis", "nscf"] = _field(
        "reduced-basis",
        "",
        "physics",
        "bands of the response: in a basis made of a few k-points, or by pw.x at every k-point",
    )
    bands_tolerance_mev: float = _field(
        5.0, "meV", "physics", "reduced basis: error of bands to energy_max_ev above the VBM", gt=0
    )
    bands_top_tolerance_mev: float = _field(
        10.0, "meV", "physics", "reduced basis: error of the bands above those", gt=0
    )
    band_path_points: int = _field(
        100, "", "numerics", "reduced basis: points of the band structure; 0: none", ge=0, le=2000
    )
    response_kppa: int = _field(
        1500, "k-points times atoms", "physics", "density of the spectra's k-grid", ge=1, le=_MOST_KPPA
    )
    kgrid: Literal["published", "converged"] = _field(
        "published",
        "",
        "physics",
        "the spectra's k-grid: as dense as said, or doubled until spectra agree (reduced basis only)",
    )
    kgrid_similarity: float = _field(
        0.98, "", "physics", "converged k-grid: SC of one grid to the next denser", gt=0, lt=1
    )
    kgrid_kppa_max: int = _field(
        100_000, "k-points times atoms", "numerics", "converged k-grid: no denser", ge=1, le=_MOST_KPPA
    )
    response_kshift: tuple[float, float, float] = _field(
        (1 / 64, 2 / 64, 3 / 64), "crystal coordinates", "physics", "shift of the spectra's k-grid"
    )
    energy_window_ev: float = _field(
        25.0, "eV above the valence band maximum", "physics", "bands reach at least this high", gt=0
    )
    metal_gap_ev: float = _field(
        0.05, "eV", "physics", "an indirect gap below this is called a metal", ge=0
    )

    energy_max_ev: float = _field(20.0, "eV", "physics", "end of the photon energy grid", gt=0)
    n_energies: int = _field(
        2001, "", "physics", "points of the photon energy grid", ge=11, le=_MOST_ENERGIES
    )
    damping_ev: float = _field(0.3, "eV", "physics", "Lorentzian damping", gt=0)
    green_function: Literal["time-ordered", "retarded"] = _field(
        "time-ordered", "", "physics", "YAMBO's default is time-ordered: Im eps(0) is not 0"
    )
    gmax_step_mry: int = _field(2000, "mRy", "numerics", "step of the local-field ladder", ge=1)
    gmax_max_mry: int = _field(
        10000, "mRy", "numerics", "end of the local-field ladder; 0: no local fields, IPA alone", ge=0
    )
    similarity_threshold: float = _field(
        0.9, "", "physics", "SC between ladder steps that ends the ladder", gt=0, lt=1
    )

    @model_validator(mode="after")
    def _ladders_lead_up(self) -> Self:
        for first, last in (
            ("ecutwfc_ry", "ecutwfc_max_ry"),
            ("ground_state_kppa", "ground_state_kppa_max"),
            ("gmax_step_mry", "gmax_max_mry"),
        ):
            if last == "gmax_max_mry" and self.is_ipa_only:
                continue  # there is no ladder
            if getattr(self, first) > getattr(self, last):
                raise ValueError(f"{first} is above {last}")
        if self.kgrid == "converged" and self.bands != "reduced-basis":
            raise ValueError("kgrid = 'converged' needs bands = 'reduced-basis'")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain JSON values."""
        return self.model_dump(mode="json")

    # Not cached: model_copy would carry the hash of the original along.
    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON of all fields."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def gmax_mry(self) -> tuple[int, ...]:
        """Rungs of the local-field ladder in mRy; 0 is IPA."""
        return tuple(range(0, self.gmax_max_mry + 1, self.gmax_step_mry))

    @property
    def is_ipa_only(self) -> bool:
        """Whether it has no local fields: its spectra are IPA, and there is no RPA."""
        return self.gmax_max_mry == 0

    def ipa_only(self) -> Protocol:
        """The same calculation without local fields.

        What only the local-field ladder needs is at its default, so that all protocols that differ in
        their ladder alone have one and the same IPA protocol, and its hash can be told from theirs.
        """
        defaults = {name: type(self).model_fields[name].default for name in _LADDER}
        return self.model_copy(update={**defaults, "gmax_max_mry": 0})

    @property
    def ipa_hash(self) -> str:
        """Equal where two protocols give the same IPA spectra: the hash of :meth:`ipa_only`.

        A k-grid that is doubled until the spectra agree is judged by the last rung there is, so that with
        local fields it may end on another grid than without: such a protocol is equal to itself alone.
        """
        own_grid = self.kgrid == "converged" and not self.is_ipa_only
        return self.hash if own_grid else self.ipa_only().hash

    @classmethod
    def from_dict(cls, data: dict[str, Any], *, origin: str = "protocol") -> Protocol:
        """Validate plain values. Raises ProtocolError naming the field and where it came from."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ProtocolError(
                f"{origin}: {_first_complaint(error)}",
                fix="`farm protocols --json` lists every field with its unit",
            ) from error


def _first_complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    wrong = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return wrong
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"field {field}: no such field"
    return f"field {field}: {wrong[:1].lower()}{wrong[1:]}"


PRESETS: dict[str, Protocol] = {
    "paper": Protocol(),
    # Seconds a crystal: right peaks at a coarse k-grid, not for publication.
    "demo": Protocol(
        ecutwfc_ry=40,
        ground_state_kppa=200,
        energy_tolerance_kcal_mol=None,
        scf_threshold_ry=1e-9,
        response_kppa=500,
    ),
}


def load_protocol(name_or_path: str) -> Protocol:
    """A preset by name, or a TOML or JSON file whose fields replace those of its ``preset`` (paper)."""
    if name_or_path in PRESETS:
        return PRESETS[name_or_path]
    path = Path(name_or_path)
    if not path.is_file():
        raise ProtocolError(
            f"no protocol named {name_or_path!r} and no such file",
            fix=f"Use one of {', '.join(PRESETS)} or a TOML or JSON file",
        )
    is_json = path.suffix == ".json"
    try:
        text = path.read_text(encoding="utf-8-sig")
        data = json.loads(text) if is_json else tomllib.loads(text)
    except ValueError as error:  # of either format, or no UTF-8
        raise ProtocolError(f"{path}: not valid {'JSON' if is_json else 'TOML'}: {error}") from error
    if not isinstance(data, dict):
        raise ProtocolError(f"{path}: not a table of protocol fields")
    preset = data.pop("preset", "paper")
    if str(preset) not in PRESETS:
        raise ProtocolError(f"{path}: field preset: no preset {preset!r}", fix=f"Use {', '.join(PRESETS)}")
    return Protocol.from_dict({**PRESETS[preset].to_dict(), **data}, origin=str(path))
