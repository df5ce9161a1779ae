"""The closing screen of `farm up --until-idle`: what came out, in one table and one figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from farm.cli.figures import Drawn, draw_page
from farm.console import screen
from farm.job import Outcome
from farm.overview import current_checkpoint, model_line
from farm.settings import Settings
from farm.spectrum import Spectrum
from farm.store import Store, StoredRow, open_store

if TYPE_CHECKING:
    from rich.table import Table

_PAGE_MATERIALS = 20


def closing_screen(settings: Settings, wall_s: float) -> None:
    """Print the table of the store's materials and write a page of spectra."""

    console = screen()
    if not settings.store_path.is_file():
        console.print("The store is empty; `farm seed` queues crystals.")
        return
    with open_store(settings.store_path) as store:
        rows = list(store.rows())
        console.print(materials_table(rows))
        figure = settings.home / "spectra.png"
        drawn = page_of_spectra(store, rows, figure)
    cpu_s = sum(row.cpu_s for row in rows)
    console.print(f"{len(rows)} materials, {cpu_s:.0f} CPU s; this run took {wall_s:.0f} s")
    if drawn:
        console.print(f"figure {figure}")
    console.print(f"store  {settings.store_path}")
    if checkpoint := current_checkpoint(settings):
        console.print(f"model  {model_line(checkpoint)}")


def materials_table(rows: list[StoredRow]) -> Table:
    """Gaps, dielectric constants, local-field effect and cost, one material a row."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 1))
    for name in ("material", "gap eV", "direct", "ε∞ IPA", "ε∞ RPA", "SC[RPA;IPA]", "Gmax Ry", "CPU s", ""):
        table.add_column(name, justify="left" if name in ("material", "") else "right", no_wrap=bool(name))
    for row in sorted(rows, key=lambda row: row.cpu_s):
        table.add_row(
            row.material_id,
            _number(row.gap_indirect_ev, 2),
            _number(row.gap_direct_ev, 2),
            _number(row.eps_inf_ipa, 2),
            _number(row.eps_inf_rpa, 2),
            _number(row.similarity_rpa_ipa, 3),
            _gmax(row),
            f"{row.cpu_s:.1f}",
            "" if row.outcome is Outcome.DONE else row.outcome.value,
        )
    return table


def page_of_spectra(store: Store, rows: list[StoredRow], path: Path) -> bool:
    """Draw the materials that have spectra, on the rungs that they have; False when there are none."""
    drawn = [row for row in rows if row.has_ipa][:_PAGE_MATERIALS]
    if not drawn:
        return False
    energies = store.energies_ev
    with_rpa = [row.index for row in drawn if row.has_rpa]
    ipa = store.ipa_spectra([row.index for row in drawn])
    rpa = dict(zip(with_rpa, store.rpa_spectra(with_rpa), strict=True))
    draw_page(
        [
            Drawn(
                material_id=row.material_id,
                ipa=Spectrum(energies, ipa[i].astype(complex)),
                rpa=Spectrum(energies, rpa[row.index].astype(complex)) if row.has_rpa else None,
            )
            for i, row in enumerate(drawn)
        ],
        path,
    )
    return True


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _gmax(row: StoredRow) -> str:
    """Ry per direction, once where all agree; '-' where a ladder did not converge."""
    if not row.has_rpa:
        return ""
    shown = ["-" if g is None else f"{g / 1000:g}" for g in row.gmax_converged_mry]
    return shown[0] if len(set(shown)) == 1 else " ".join(shown)
