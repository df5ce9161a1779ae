"""JSON in pymatgen's forms and ASE's, one entry in memory at a time however large the file is.

A Structure dictionary, a ComputedStructureEntry, a list of either, or ``{"entries": [...]}`` as
Alexandria publishes them (``data`` with mat_id, band_gap_ind, e_above_hull, total_mag, ...), or
``{"1": row, "2": row, ...}`` as ASE's JSON databases are.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from farm.crystal import MATERIAL_ID, Crystal
from farm.sources.admission import admit, elements_of
from farm.sources.ase_databases import cut_json_row, is_ase_row
from farm.sources.items import Rejected, Skipped, Unparsed
from farm.sources.opening import DAMAGED, Meter, brief, open_bytes

CHUNK_CHARACTERS = 1 << 18
_ID_KEYS = ("mat_id", "material_id", "entry_id")
_SCALARS = (str, int, float, bool)

# Elements and what the source says -> why such a crystal is not wanted; None: it may be.
Unwanted = Callable[[frozenset[str], Mapping[str, Any]], str | None]


class _TextWindow:
    """The part of a text stream that is being decoded."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self.text = ""
        self.ended = False

    def read_more(self, wanted: int = CHUNK_CHARACTERS) -> None:
        fresh = self._stream.read(wanted)
        self.ended = not fresh
        self.text += fresh

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        self.text = self.text.lstrip()
        while not self.text and not self.ended:
            self.read_more()
            self.text = self.text.lstrip()
        return self.text[:1]

    def take(self, expected: str) -> None:
        if self.peek() != expected:
            found = self.peek() or "the end of the file"
            raise ValueError(f"expected {expected!r}, found {found!r}")
        self.text = self.text[1:]

    def value(self) -> Any:
        """Decode one value, reading as much as it needs; doubling keeps the retries cheap."""
        self.peek()
        while True:
            try:
                value, end = json.JSONDecoder().raw_decode(self.text)
            except json.JSONDecodeError:
                if self.ended:
                    raise
            else:
                # A number at the very end may go on in the next chunk.
                if end < len(self.text) or self.ended:
                    self.text = self.text[end:]
                    return value
            self.read_more(max(CHUNK_CHARACTERS, len(self.text)))


def cut_json(path: Path, meter: Meter) -> Iterator[Unparsed | Rejected]:
    """The entries of a JSON file (``.json``, ``.json.bz2``, ``.json.gz``); bad ones are named.

    Raises OSError only for a file that cannot be opened.
    """
    n_entries = 0
    for n_entries, entry in enumerate(json_entries(path, meter), start=1):
        if isinstance(entry, Rejected):
            yield entry
            return
        yield _cut_entry(entry, path, n_entries)
    if n_entries == 0:
        yield Rejected(str(path), "no entries", "Give a Structure, an entry or a list of them")


def json_entries(path: Path, meter: Meter) -> Iterator[Any]:
    """The entries of a JSON file as they are; where it is broken, a Rejected ends it.

    Raises OSError only for a file that cannot be opened.
    """
    n_entries = 0
    with open_bytes(path, meter) as stream:
        try:
            with io.TextIOWrapper(stream, encoding="utf-8-sig") as text:
                for entry in _entries(_TextWindow(text)):
                    n_entries += 1
                    yield entry
        except (ValueError, OSError, RecursionError, *DAMAGED) as error:
            where = f"{path}, after entry {n_entries}" if n_entries else str(path)
            fix = "Get the file again" + ("; what came before is used" if n_entries else "")
            yield Rejected(where, what_is_broken(error, path), fix)


def parse_structure(item: Unparsed, unwanted: Unwanted | None = None) -> Crystal | Rejected | Skipped:
    """The crystal of a pymatgen Structure dictionary.

    unwanted: asked before the costly reduction. What has no id is reduced all the same: the report needs
        its name.
    """
    try:
        structure = _structure(item.content)
    except Exception as error:  # noqa: BLE001 - pymatgen raises anything on bad input
        return Rejected(item.source, f"field structure: {brief(error)}", "Export the structure again")
    material_id, properties = item.material_id, item.properties
    if unwanted and material_id and MATERIAL_ID.fullmatch(material_id):
        reason = unwanted(elements_of(structure), properties)
        if reason is not None:
            return Skipped(material_id, reason)
    return admit(structure, source=item.source, material_id=material_id, properties=properties)


def what_is_broken(error: Exception, path: Path) -> str:
    """In one clause, of what reading a JSON file raised."""
    if path.stat().st_size == 0:
        return "the file is empty"
    if isinstance(error, UnicodeDecodeError):
        return "broken JSON: not a text"
    # Its position is one in the piece of the file that was being read, not in the file.
    return f"broken JSON: {error.msg if isinstance(error, json.JSONDecodeError) else brief(error)}"


def _entries(window: _TextWindow) -> Iterator[Any]:
    """The entries of a document, whichever form it has."""
    if window.peek() == "[":
        yield from _array(window)
    elif window.peek() == "{":
        yield from _object(window)
    else:
        raise ValueError("neither an object nor a list")
    if window.peek():
        raise ValueError("text behind the end of the document")


def _array(window: _TextWindow) -> Iterator[Any]:
    window.take("[")
    if window.peek() != "]":
        yield window.value()
        while window.peek() == ",":
            window.take(",")
            yield window.value()
    window.take("]")


def _object(window: _TextWindow) -> Iterator[Any]:
    """A container with ``entries``, ASE's numbered rows, or one entry, which is small and read whole."""
    fields: dict[str, Any] = {}
    has_entries = False
    window.take("{")
    while window.peek() not in ("}", ""):
        key = window.value()
        window.take(":")
        if key == "entries" and window.peek() == "[":
            has_entries = True
            yield from _array(window)
        elif is_ase_row(key, value := window.value()):
            has_entries = True
            yield {**value, "id": key}
        else:
            fields[key] = value
        if window.peek() == ",":
            window.take(",")
        elif window.peek() != "}":
            break
    window.take("}")
    if not has_entries:
        yield fields


def _cut_entry(entry: Any, path: Path, number: int) -> Unparsed | Rejected:
    source = f"{path}, entry {number}"
    if not isinstance(entry, dict):
        return Rejected(source, "not an object", "Give pymatgen Structure or entry dictionaries")
    if is_ase_row(str(entry.get("id", "")), entry):
        return cut_json_row(entry, path)
    found = entry.get("data")
    data: dict[str, Any] = found if isinstance(found, dict) else {}
    names = (record.get(key) for record in (data, entry) for key in _ID_KEYS)
    material_id = next((str(name) for name in names if name), None)
    if material_id:
        source = f"{path}, {material_id}"
    structure = entry if "sites" in entry else entry.get("structure")
    if not isinstance(structure, dict):
        return Rejected(source, "field structure is missing", "Export the entry with its structure")
    kept = {key: value for key, value in data.items() if isinstance(value, _SCALARS)}
    return Unparsed("structure", structure, source, material_id, kept)


def _structure(data: dict[str, Any]) -> Any:
    from pymatgen.core import Structure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Structure.from_dict(data)
