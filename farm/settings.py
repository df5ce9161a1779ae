"""Settings of one farm, read once: farm.toml < FARM_* environment < flags.

A farm lives in one directory, ``FARM_HOME`` (default ``./farm-home``). Every field below can stand
in ``FARM_HOME/farm.toml`` or, in capitals behind ``FARM_``, in the environment.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from farm.errors import SettingsError
from farm.usable_cpus import usable_cpus

# Read by other parts, or by this one before farm.toml is known.
_NOT_FIELDS = frozenset(
    {
        "FARM_HOME",
        "FARM_PSEUDO_DIR",
        "FARM_SUPERVISED",
        "FARM_FLOWER_PASSWORD",
        "FARM_DASHBOARD_TOKEN",
        "FARM_DASHBOARD_VIEW_TOKEN",
    }
)


class Settings(BaseModel):
    """Where a farm lives and how its roles behave; frozen, passed down."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    home: Path = Field(description="directory of this farm")
    name: str = Field(
        default="farm", pattern=r"^[A-Za-z0-9_-]{1,32}$", description="prefix of all Redis keys"
    )
    redis_url: str | None = Field(default=None, description="redis[s]://...; none: an embedded Redis")
    redis_ca_file: Path | None = Field(
        default=None,
        description="CA that signed the certificate of rediss://; none: the system's; from home",
    )
    redis_cert_file: Path | None = Field(default=None, description="certificate to show to Redis")
    redis_key_file: Path | None = Field(default=None, description="private key of that certificate")
    slots: int = Field(
        default_factory=usable_cpus,
        ge=1,
        description="jobs at a time on this machine; as many as there are processors it may use",
    )
    lease_s: float = Field(default=20.0, ge=1, description="a worker silent for this long lost its job")
    tick_s: float = Field(default=0.2, gt=0, description="pause between scheduler ticks")
    max_attempts: int = Field(
        default=3,
        ge=1,
        description="a job has failed whose workers died, or programs were killed, this often",
    )
    max_returns: int = Field(
        default=20, ge=1, description="a job that machines gave back this often has failed"
    )
    slot_memory_mb: float | None = Field(
        default=None, gt=0, description="memory of one slot; none: the machine's, shared by the slots"
    )
    ranks: int = Field(default=1, ge=1, description="MPI ranks of the programs of one slot")
    least_free_disk_mb: float = Field(
        default=1000.0, ge=0, description="a worker takes no jobs with less room for scratch"
    )
    hold_s: float = Field(
        default=60.0, gt=0, description="a worker that gave a job back pauses for this long"
    )
    scratch_dir: Path = Field(
        default_factory=lambda fields: fields["home"] / "scratch",
        description="job directories; nothing of value stays there; from home",
    )
    grace_s: float = Field(
        default=5.0,
        ge=0,
        description="a worker that is told to stop ends what it can in this time, and hands the rest over",
    )
    until_idle_s: float | None = Field(
        default=None, gt=0, description="a worker leaves that had no job for so long; none: it stays"
    )
    policy: Literal["cheapest", "uncertainty-per-cost", "diverse"] = Field(
        default="cheapest", description="what to compute first"
    )
    ipa_enough_sc: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="farm seed --rung auto: IPA is enough from this predicted SC[RPA;IPA] less its error",
    )
    refit_min_spectra: int = Field(default=8, ge=2, description="RPA spectra before the first refit")
    refit_growth: float = Field(default=1.0, gt=0, description="growth of the RPA set that calls a refit")
    refit_architecture: Literal["oscillators", "optimate"] = Field(
        default="oscillators", description="network that refits fit: ours, or OPTIMATE as published"
    )
    refit_members: int = Field(
        default=4, ge=1, le=32, description="RPA fits a refit makes; their spread says how sure it is"
    )
    refit_base: str = Field(
        default="", description="checkpoint whose IPA model starts every transfer; empty: the farm fits one"
    )
    refit_split: Path | None = Field(
        default=None, description="JSON lists of ids to learn from and to hold out; none: by composition"
    )
    refit_lease_s: float = Field(default=60.0, ge=1, description="a trainer silent for this long is dead")

    @field_validator("scratch_dir")
    @classmethod
    def _from_home(cls, path: Path, known: ValidationInfo) -> Path:
        return cast("Path", known.data["home"]) / path.expanduser()

    @property
    def store_path(self) -> Path:
        """The HDF5 store."""
        return self.home / "spectra.h5"

    @property
    def checkpoints_dir(self) -> Path:
        """Model checkpoints, one directory each, and the link ``latest``."""
        return self.home / "checkpoints"

    @property
    def logs_dir(self) -> Path:
        """One log a role."""
        return self.home / "logs"


def load_settings(
    flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Merge farm.toml, environment and flags (None values are not set).

    Raises SettingsError naming the file or variable, the field and what it may be.
    """
    env = os.environ if environment is None else environment
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    home = Path(given.pop("home", None) or env.get("FARM_HOME") or "farm-home").expanduser().absolute()
    origin: dict[str, str] = {}
    values: dict[str, Any] = {}
    for source, fields in (
        (str(home / "farm.toml"), _from_file(home / "farm.toml")),
        ("environment", _from_environment(env)),
        ("flag", given),
    ):
        values.update(fields)
        origin.update(dict.fromkeys(fields, source))
    try:
        return Settings(home=home, **values)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        where = origin.get(field, "settings")
        name = f"FARM_{field.upper()}" if where == "environment" else field
        if first["type"] == "extra_forbidden":
            known = ", ".join(name for name in Settings.model_fields if name != "home")
            raise SettingsError(f"{where}: {name}: no such setting", fix=f"There are {known}") from error
        raise SettingsError(f"{where}: {name}: {first['msg'][:1].lower()}{first['msg'][1:]}") from error
    except TypeError as error:
        raise SettingsError(
            f"{home / 'farm.toml'}: home cannot be set there", fix="Use FARM_HOME"
        ) from error


def _from_file(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        # Editors of Windows put a mark before the text.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    return {
        key.removeprefix("FARM_").lower(): value
        for key, value in env.items()
        if key.startswith("FARM_") and key not in _NOT_FIELDS and value != ""
    }
