"""The ``farm`` command: groups of commands, each loaded when it is called.

Commands of the other packages join by the entry point group ``farm.commands``, so that this one
imports neither Quantum ESPRESSO code nor torch.
"""

from __future__ import annotations

import importlib
import io
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

import farm
from farm.errors import FarmError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

# By name: this file may run as __main__.
_LOGGER = logging.getLogger("farm.cli")

_OWN = {
    "cancel": "farm.cli.control:cancel",
    "compare": "farm.cli.compare:compare",
    "cost": "farm.cli.cost:cost",
    "doctor": "farm.cli.doctor:doctor",
    "export": "farm.cli.export:export",
    "dashboard": "farm.cli.dashboard:dashboard",
    "flower": "farm.cli.flower:flower",
    "health": "farm.cli.health:health",
    "metrics": "farm.cli.health:metrics",
    "import": "farm.cli.import_:import_",
    "jobs": "farm.cli.jobs:jobs",
    "pause": "farm.cli.control:pause",
    "prioritise": "farm.cli.control:prioritise",
    "protocols": "farm.cli.protocols:protocols",
    "report": "farm.cli.report:report",
    "resume": "farm.cli.control:resume",
    "retry": "farm.cli.control:retry",
    "scheduler": "farm.cli.roles:scheduler",
    "seed": "farm.cli.seed:seed",
    "show": "farm.cli.show:show",
    "status": "farm.cli.status:status",
    "store": "farm.cli.store:store_group",
    "up": "farm.cli.up:up",
    "writer": "farm.cli.roles:writer",
}

# What is installed only for some roles, and by which extra of the package.
_EXTRAS = {
    "torch": "trainer",
    "torch_geometric": "trainer",
    "safetensors": "trainer",
    "fastapi": "dashboard",
    "uvicorn": "dashboard",
}

_SECTIONS = {
    "Work": ["seed", "up", "status", "jobs", "show", "report", "import", "export"],
    "Steer": ["pause", "resume", "prioritise", "cancel", "retry"],
    "Model": ["predict", "next", "train", "checkpoints", "pull"],
    "Roles": ["scheduler", "worker", "writer", "trainer", "dashboard", "flower"],
    "Tools": [
        "doctor",
        "health",
        "metrics",
        "store",
        "protocols",
        "cost",
        "diagnose",
        "compare",
        "spectra",
        "response",
    ],
}


def _joined() -> EntryPoints:
    # Only for commands of other packages: reading the metadata takes 50 ms.
    from importlib.metadata import entry_points

    return entry_points(group="farm.commands")


class LazyGroup(click.Group):
    """Loads a command's module when the command is called, and lists commands by section."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names of all commands, own and joined."""
        return sorted({*_OWN, *_joined().names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command, or None when there is no such name."""
        if target := _OWN.get(cmd_name):
            module, _, attribute = target.partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        if point := next(iter(_joined().select(name=cmd_name)), None):
            joined: click.Command = point.load()
            return joined
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in the order a user meets them."""
        known = set(self.list_commands(ctx))
        sections = {title: [n for n in names if n in known] for title, names in _SECTIONS.items()}
        listed = {name for names in sections.values() for name in names}
        sections["More"] = sorted(known - listed)
        for title, names in sections.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            rows = [(name, c.get_short_help_str(120)) for name, c in commands if c is not None]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(farm.__version__, prog_name="farm")
@click.option("--home", metavar="DIR", help="Directory of the farm (FARM_HOME, default ./farm-home).")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
@click.pass_context
def cli(ctx: click.Context, home: str | None, verbose: bool) -> None:
    """A farm for ab-initio optical spectra.

    Crystals go in; converged IPA and RPA dielectric functions come out in one HDF5 store, and a
    model that predicts them is refitted as they arrive; cheapest first.

    \b
    farm seed --max-atoms 4        queue the bundled crystals
    farm up --until-idle           compute, store, refit
    farm show MgO --plot MgO.png   one material
    farm predict new.cif           ask the model
    """
    ctx.obj = {"home": home}
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    if verbose:
        logging.getLogger("farm").setLevel(logging.DEBUG)
    # kombu and celery report every lost connection; our own lines say the same, once.
    for name in ("kombu", "celery", "amqp", "redis"):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.ERROR)


def _show_all_characters() -> None:
    """What a terminal's encoding lacks (angstrom signs, names of files) is written as its code."""
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper) and (out.errors == "strict" or out.encoding.lower() != "utf-8"):
        out.reconfigure(errors="backslashreplace")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``farm``; a FarmError or what the system refuses is one line on stderr and an exit code."""
    _show_all_characters()
    try:
        code = cli.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except FarmError as error:
        click.echo(f"farm: {error}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if (extra := _EXTRAS.get((error.name or "").partition(".")[0])) is None:
            raise
        click.echo(
            f"farm: {error.name} is not installed. `pip install '.[{extra}]'` where its source is", err=True
        )
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        # A full disk, a directory that may not be written: the system says which in one line.
        _LOGGER.debug("where it happened", exc_info=True)
        place = f"{error.filename}: " if error.filename else ""
        click.echo(f"farm: {place}{error.strerror or error}", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
