"""What ``farm report --html`` and ``--figures`` call: gather, draw, write."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from farm.errors import InputError
from farm.settings import Settings
from trainer.report.curve_file import read_curve
from trainer.report.figure import write_plate
from trainer.report.gather import gather


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written, and what is to be said about it.

    paths:    every file
    problems: what could not be had, one sentence each
    remarks:  what a reader should know
    """

    checkpoint: str | None
    paths: tuple[Path, ...]
    problems: tuple[str, ...]
    remarks: tuple[str, ...]


def write_report(
    settings: Settings,
    *,
    html: Path | None = None,
    figures: Path | None = None,
    checkpoint: str | None = None,
    curve: Path | None = None,
) -> Written:
    """Write the page to ``html`` and each plate as PNG and SVG into ``figures``; either may be None.

    Raises InputError for a curve that cannot be read and places that cannot be written, CheckpointError
    for a checkpoint that is not there, FarmError where there is nothing at all to report.
    """
    from trainer.report.page import make_report, render

    if html is not None and (html.is_dir() or not html.parent.is_dir()):
        raise InputError(
            f"{html}: no file can be written there", fix="Name a file in a directory that is there"
        )
    drawn = read_curve(curve) if curve is not None else None
    contents = gather(settings.store_path, settings.checkpoints_dir, checkpoint)
    report = make_report(contents, drawn)
    paths: list[Path] = []
    if html is not None:
        _write_whole(html, render(report))
        paths.append(html)
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)
        for plate in report.plates:
            paths += write_plate(plate, figures)
    remarks = [note.text for note in contents.notes if not note.is_problem]
    if report.embedding is not None and report.embedding.remark:
        remarks.append(report.embedding.remark)
    return Written(
        checkpoint=contents.card.version if contents.card is not None else None,
        paths=tuple(paths),
        problems=tuple(note.text for note in contents.notes if note.is_problem),
        remarks=tuple(remarks),
    )


def _write_whole(path: Path, text: str) -> None:
    """Whoever has the page open never sees half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".report-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        # mkstemp gives a file that only its owner may read.
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
