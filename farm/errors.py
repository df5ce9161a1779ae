"""One tree of errors; each says what is wrong, where, and what mends it.

::

    FarmError
    +-- InputError            a user's file, field or flag
    |   +-- CrystalError      a structure the protocol cannot treat
    |   +-- ProtocolError     a protocol file or field
    |   +-- SettingsError     farm.toml, FARM_* or a flag
    +-- MissingProgramError   a program or data file that must be installed
    +-- BrokerError           Redis absent, full, or refusing us
    +-- SourceError           a database that does not answer, or broke off in the middle
    +-- LeaseLostError        this worker no longer owns its job
    +-- StoreError            the HDF5 store
    |   +-- StoreLockedError  another writer has it
    |   +-- ResultRefusedError  a result it cannot keep; the store itself is well
    +-- CalculationError      a calculation that ended without a usable result
    +-- ResourceError         the machine, not the material: the job is given back uncounted
    |   +-- MemoryShortError  it needs a slot with more memory
    +-- CheckpointError       a model checkpoint that cannot be read or verified
"""


class FarmError(Exception):
    """Root of every error this project raises on purpose; ``fix`` says what the user can do."""

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message.rstrip('.')}. {self.fix}" if self.fix else self.message


class InputError(FarmError):
    """Something the user gave cannot be used."""

    exit_code = 2


class CrystalError(InputError):
    """A structure that the protocol cannot treat."""


class ProtocolError(InputError):
    """A protocol with an unknown, missing or impossible field."""


class SettingsError(InputError):
    """A setting that is unknown or has a wrong value."""


class MissingProgramError(FarmError):
    """A program or a data file that has to be installed first."""


class BrokerError(FarmError):
    """Redis cannot be reached or refuses the command."""


class SourceError(FarmError):
    """A database of structures does not answer, or not as it should."""


class LeaseLostError(FarmError):
    """The job was given to somebody else, cancelled or finished meanwhile."""


class StoreError(FarmError):
    """The HDF5 store cannot be read or written."""


class StoreLockedError(StoreError):
    """Another process is the writer of this store."""


class ResultRefusedError(StoreError):
    """A result the store cannot keep; asking again will not help, and the store itself is well."""


class CalculationError(FarmError):
    """A calculation ended without a usable result."""


class ResourceError(FarmError):
    """The machine, not the material (a full disk, no memory): the job is given back uncounted."""


class MemoryShortError(ResourceError):
    """The job took more memory than this slot has."""


class CheckpointError(FarmError):
    """A checkpoint that is missing, altered, or of another architecture."""
