"""Run the steps of the Dockerfile in chroots, where there is no Docker engine.

    debootstrap --variant=minbase bookworm /tmp/debian
    python deploy/images/check_in_chroot.py --base /tmp/debian --into /tmp/images control cpu-worker

Each stage becomes a directory below ``--into``; one that is there is kept, so remove it to build it again.
Only stages that come from Debian can be built: ``--base`` is taken for every image that is no stage. Needs
root. Files of this machine that a step needs (resolv.conf, pip.conf) are lent with ``--lend FILE[:PLACE]``
while it runs.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = Path(__file__).with_name("Dockerfile")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CHROOT = shutil.which("chroot", path=_PATH) or "chroot"
# They say how an image is started, and change no file.
_WITHOUT_STEPS = frozenset({"LABEL", "ENTRYPOINT", "CMD", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL"})


@dataclass(frozen=True)
class Instruction:
    """One instruction: its name, its flags (``--from=build`` is from: build), and the rest of its line."""

    name: str
    flags: Mapping[str, str]
    rest: str


@dataclass
class Stage:
    """One FROM, and what follows it."""

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)


def parse(text: str) -> Iterator[Instruction]:
    """The instructions of a Dockerfile, comments left out and lines joined."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\s*\n", " ", "\n".join(lines))
    for line in filter(None, map(str.strip, joined.splitlines())):
        name, _, rest = line.partition(" ")
        flags = {}
        while found := re.match(r"\s*--([a-z]+)=(\S+)\s+", rest):
            flags[found[1]] = found[2]
            rest = rest[found.end() :]
        yield Instruction(name.upper(), flags, rest.strip())


def stages(text: str, arguments: Mapping[str, str]) -> dict[str, Stage]:
    """The stages by name. ``arguments``: what ``docker build --build-arg`` would give."""
    given: dict[str, str] = {}
    found: dict[str, Stage] = {}
    for instruction in parse(text):
        if instruction.name == "FROM":
            base, _, name = instruction.rest.partition(" AS ")
            current = Stage(name.strip(), _expand(base.strip(), given))
            found[current.name] = current
        elif found:
            current.instructions.append(instruction)
        else:
            given.update(_argument(instruction, arguments))
    return found


def environment(stage: Stage, known: Mapping[str, Stage], arguments: Mapping[str, str]) -> dict[str, str]:
    """The ENV of a finished stage, that of the stages below it included."""
    return _run_through(stage, known, arguments)[0]


def user(stage: Stage, known: Mapping[str, Stage]) -> str:
    """The USER of a finished stage."""
    return _run_through(stage, known, {})[1]


def _run_through(
    stage: Stage, known: Mapping[str, Stage], arguments: Mapping[str, str]
) -> tuple[dict[str, str], str]:
    below = known.get(stage.base)
    values, who = _run_through(below, known, arguments) if below else ({"PATH": _PATH}, "root")
    for instruction in stage.instructions:
        if instruction.name == "ENV":
            values.update(_assignments(instruction.rest, values))
        elif instruction.name == "USER":
            who = instruction.rest
    return values, who


def _expand(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}|\$(\w+)", lambda found: values.get(found[1] or found[2], ""), text)


def _assignments(text: str, values: Mapping[str, str]) -> dict[str, str]:
    pairs = (word.partition("=") for word in shlex.split(text))
    return {name: _expand(value, values) for name, _, value in pairs}


def _argument(instruction: Instruction, arguments: Mapping[str, str]) -> dict[str, str]:
    name, _, default = instruction.rest.partition("=")
    return {name: arguments.get(name, default)}


class Builder:
    """Stages on the disk, each a root file system."""

    def __init__(
        self,
        known: Mapping[str, Stage],
        base: Path,
        into: Path,
        lent: Mapping[str, str],
        arguments: Mapping[str, str],
    ) -> None:
        self._known, self._base, self._into = known, base, into
        self._lent, self._arguments = lent, arguments

    def build(self, name: str) -> Path:
        """The root of a stage, built if it is not there; a step that fails ends it, as Docker does."""
        root = self._into / name
        if root.exists():
            return root
        stage, started = self._known[name], time.monotonic()
        below = self.build(stage.base) if stage.base in self._known else self._base
        for other in {i.flags["from"] for i in stage.instructions if "from" in i.flags}:
            self.build(other)
        unfinished = root.with_name(f"{name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        subprocess.run(["cp", "-a", below, unfinished], check=True)
        self._steps(stage, unfinished)
        unfinished.rename(root)
        print(f"{name:<18}{size_mb(root):7.0f} MB  {time.monotonic() - started:5.0f} s", flush=True)
        return root

    def _steps(self, stage: Stage, root: Path) -> None:
        below = self._known.get(stage.base)
        values = environment(below, self._known, self._arguments) if below else {"PATH": _PATH}
        who = user(below, self._known) if below else "root"
        given: dict[str, str] = {}
        for instruction in stage.instructions:
            match instruction.name:
                case "ENV":
                    values |= _assignments(instruction.rest, values)
                case "ARG":
                    given |= _argument(instruction, self._arguments)
                case "USER":
                    who = instruction.rest
                case "WORKDIR":
                    (root / instruction.rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
                case "COPY":
                    self._copy(instruction, root)
                case "RUN":
                    run_in(root, ["/bin/sh", "-c", instruction.rest], {**given, **values}, who, self._lent)
                case name if name not in _WITHOUT_STEPS:
                    raise SystemExit(f"{DOCKERFILE.name}: {name} is not known here")

    def _copy(self, instruction: Instruction, root: Path) -> None:
        *sources, target = instruction.rest.split()
        place = root / target.lstrip("/")
        origin = self._into / instruction.flags["from"] if "from" in instruction.flags else ROOT
        for source in (origin / source.lstrip("/") for source in sources):
            # Docker: what is in a directory goes into the target; a file does where that ends in a slash.
            destination = place / source.name if target.endswith("/") and source.is_file() else place
            destination.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                destination.mkdir(exist_ok=True)
            subprocess.run(
                ["cp", "-a", f"{source}/." if source.is_dir() else source, destination], check=True
            )
            if "from" not in instruction.flags:
                subprocess.run(
                    ["chown", "-R", instruction.flags.get("chown", "0:0"), destination], check=True
                )
            if mode := instruction.flags.get("chmod"):
                destination.chmod(int(mode, 8))


def run_in(
    root: Path, argv: list[str], values: Mapping[str, str], who: str, lent: Mapping[str, str]
) -> None:
    """Run a command in a root file system, with /proc, /dev and what is lent; the mounts end with it."""
    mounts = [f"mount --rbind {place} {shlex.quote(str(root))}{place}" for place in ("/proc", "/dev")]
    for path, place in lent.items():
        inside = root / place.lstrip("/")
        if Path(path).is_dir():
            inside.mkdir(parents=True, exist_ok=True)
        elif not inside.exists():
            inside.parent.mkdir(parents=True, exist_ok=True)
            inside.touch()
        mounts.append(f"mount --bind {shlex.quote(path)} {shlex.quote(str(inside))}")
    uid, _, gid = {"root": "0:0"}.get(who, who).partition(":")
    command = [CHROOT, f"--userspec={uid}:{gid or uid}", str(root), *argv]
    script = " && ".join([*mounts, f"exec {shlex.join(command)}"])
    subprocess.run(["unshare", "--mount", "/bin/sh", "-c", script], env=dict(values), check=True)


def size_mb(root: Path) -> float:
    """Megabytes of a root file system on this disk."""
    done = subprocess.run(
        ["du", "-sx", "--block-size=1000", root], check=True, capture_output=True, text=True
    )
    return int(done.stdout.split()[0]) / 1000


def main() -> int:
    """Build what is named on the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], epilog="See the head of this file for an example."
    )
    parser.add_argument("targets", nargs="+", metavar="STAGE")
    parser.add_argument("--base", type=Path, required=True, help="root file system that debootstrap made")
    parser.add_argument("--into", type=Path, required=True, help="where the stages go")
    parser.add_argument(
        "--lend", action="append", default=[], metavar="FILE[:PLACE]", help="of this machine"
    )
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    arguments = dict(argument.split("=", 1) for argument in options.build_arg)
    lent = {path: place or path for path, _, place in (each.partition(":") for each in options.lend)}
    known = stages(DOCKERFILE.read_text(encoding="utf-8"), arguments)
    if unknown := set(options.targets) - set(known):
        print(f"no such stage: {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    options.into.mkdir(parents=True, exist_ok=True)
    builder = Builder(known, options.base, options.into, lent, arguments)
    try:
        for target in options.targets:
            builder.build(target)
    except subprocess.CalledProcessError as error:
        print(f"a step failed with exit code {error.returncode}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
