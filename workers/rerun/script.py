"""run.sh of a rerun, and the sums of its pseudopotentials; pure."""

from __future__ import annotations

from collections.abc import Sequence

from workers.launcher import PROGRAM_ENVIRONMENT, ROOT_ENVIRONMENT
from workers.rerun.step_files import StepFiles
from workers.rerun.subject import Subject

RUN_SCRIPT = "run.sh"
PSEUDO_DIRECTORY = "pseudo"
SUMS_FILE = "SHA256SUMS"
# Ours: what it makes comes last, and all before it can be run without.
_FARM = "farm"


def run_script(material_id: str, steps: Sequence[StepFiles]) -> str:
    """The shell script that runs all steps in order."""
    needed = (program for step in steps for program in step.programs if program != _FARM)
    programs = list(dict.fromkeys(needed))
    lines = [
        "#!/usr/bin/env bash",
        f"# {material_id}: every program in order, with the environment that the farm gives it.",
        "# README.txt says what it is and what differs. Starting it again begins anew.",
        "set -euo pipefail",
        'cd "$(dirname "${BASH_SOURCE[0]}")"',
        "# mpirun would take what is not meant for it.",
        "exec < /dev/null",
        "",
        *(f"export {name}={value}" for name, value in PROGRAM_ENVIRONMENT.items()),
        'if [ "$(id -u)" = 0 ]; then',
        f"  export {' '.join(f'{name}={value}' for name, value in ROOT_ENVIRONMENT.items())}",
        "fi",
        f"for program in {' '.join(programs)}; do",
        '  command -v "$program" > /dev/null || { echo "run.sh: $program is not on PATH" >&2; exit 1; }',
        "done",
        "# pw.x runs without a word with the file of another element of the same valence.",
        f"(cd {PSEUDO_DIRECTORY} && sha256sum --check --quiet {SUMS_FILE})",
    ]
    for step in steps:
        if step.lines:
            lines += ["", f"echo {step.directory}", *_block(step)]
    return "\n".join([*lines, "", "echo done", ""])


def _block(step: StepFiles) -> list[str]:
    block = ["(", f"  cd {step.directory}", *(f"  {line}" for line in step.lines), ")"]
    if _FARM not in step.programs:
        return block
    told = f'echo "   not run: {_FARM} is not on PATH"'
    indented = (f"  {line}" for line in block)
    return [f"if command -v {_FARM} > /dev/null; then", *indented, "else", f"  {told}", "fi"]


def checksums(subject: Subject) -> str:
    """The file that ``sha256sum --check`` reads."""
    return "".join(f"{pseudo.sha256}  {pseudo.file}\n" for pseudo in subject.pseudos.values())
