"""Give a pw.x band calculation without symmetry the symmetry of its ground state, for p2y.

    python3 save_symmetry.py BANDS.xml GROUND_STATE.xml > pw.save/data-file-schema.xml

Both are ``data-file-schema.xml`` of pw.x' save directories. Operations with fractional translations are
left out: p2y refuses them. This file needs Python alone, so that it can be handed on with inputs.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET

# A fractional translation closer to a lattice vector than this is none.
_SHIFT_TOLERANCE = 1e-6
# Vectors of two cells that are one, bohr.
_CELL_TOLERANCE_BOHR = 1e-5

_NAMESPACES = {
    "qes": "http://www.quantum-espresso.org/ns/qes/qes-1.0",
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
}
_CELL = "output/atomic_structure/cell"
_SYMMETRIES = "output/symmetries"
_FLAGS = "input/symmetry_flags"


def with_symmetry(nscf_xml: str, scf_xml: str) -> str:
    """The data file of a band calculation with the symmorphic operations of its ground state.

    Raises ValueError for files that are not complete, or not of one cell.
    """
    bands, ground_state = parsed(nscf_xml), parsed(scf_xml)
    pairs = zip(_cell(bands), _cell(ground_state), strict=True)
    if max(abs(a - b) for a, b in pairs) > _CELL_TOLERANCE_BOHR:
        raise ValueError("ground state and bands are not of one cell")
    kept = symmorphic(ground_state)
    block = found(bands, _SYMMETRIES)
    for old in block.findall("symmetry"):
        block.remove(old)
    block.extend(kept)
    found(block, "nsym").text = str(len(kept))
    found(block, "nrot").text = str(len(kept))
    # p2y takes these for the symmetry of the wavefunctions, too.
    flags = found(bands, _FLAGS)
    for name in ("nosym", "noinv"):
        found(flags, name).text = "false"
    for prefix, uri in _NAMESPACES.items():
        ET.register_namespace(prefix, uri)
    # As pw.x writes them: p2y reads tags with a parser of its own.
    body = ET.tostring(bands, encoding="unicode", short_empty_elements=False)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def symmorphic(root: ET.Element) -> list[ET.Element]:
    """The operations of the crystal without fractional translations. Raises ValueError for none."""
    kept = []
    for element in found(root, _SYMMETRIES).findall("symmetry"):
        if (element.findtext("info") or "").strip() != "crystal_symmetry":
            continue
        shift = numbers(found(element, "fractional_translation"))
        if max(abs(value - round(value)) for value in shift) < _SHIFT_TOLERANCE:
            kept.append(element)
    if not kept:
        raise ValueError("data-file-schema.xml holds no symmetry operations")
    return kept


def parsed(xml: str) -> ET.Element:
    """The tree of a data file. Raises ValueError where it is cut off."""
    try:
        return ET.fromstring(xml)  # noqa: S314  # written by pw.x
    except ET.ParseError as error:
        raise ValueError(f"data-file-schema.xml is not complete: {error}") from error


def found(parent: ET.Element, path: str) -> ET.Element:
    """The element there. Raises ValueError where it is missing."""
    element = parent.find(path)
    if element is None:
        raise ValueError(f"data-file-schema.xml holds no {path}")
    return element


def numbers(element: ET.Element) -> list[float]:
    """The numbers that an element holds."""
    return [float(value) for value in (element.text or "").split()]


def _cell(root: ET.Element) -> list[float]:
    return [value for i in (1, 2, 3) for value in numbers(found(root, f"{_CELL}/a{i}"))]


def _main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        texts = [open(name, encoding="utf-8").read() for name in sys.argv[1:]]  # noqa: SIM115  # ends at once
        sys.stdout.write(with_symmetry(*texts))
    except (OSError, ValueError) as error:
        sys.exit(f"save_symmetry.py: {error}")


if __name__ == "__main__":
    _main()
