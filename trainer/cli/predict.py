"""``farm predict``. Torch is loaded only when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from farm.console import echo_json, figure_path, settings_of
from farm.errors import InputError

if TYPE_CHECKING:
    from farm.settings import Settings
    from trainer.inference.predict import Prediction, Predictor

_PATH = click.Path(path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.command()
@click.argument("files", nargs=-1, required=True, type=_PATH)
@click.option("--checkpoint", metavar="VERSION|PATH", help="Which model (default: the latest).")
@click.option("--rung", type=click.Choice(["rpa", "ipa"]), help="Default: RPA, where the model has it.")
@click.option(
    "--property",
    "quantity",
    type=click.Choice(["eps", "absorption", "refractive-index", "reflectivity"]),
    default="eps",
    show_default=True,
    help="eps is Im of a third of the trace; the others follow from it by Kramers-Kronig.",
)
@click.option("--directions", is_flag=True, help="Also along Cartesian x, y, z of the cell.")
@click.option("--plot", type=_PATH, callback=figure_path, help="Write a figure (.png, .pdf, .svg).")
@_JSON
@click.pass_context
def predict(
    ctx: click.Context,
    files: tuple[Path, ...],
    checkpoint: str | None,
    rung: Literal["ipa", "rpa"] | None,
    quantity: str,
    directions: bool,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Predict spectra of the crystals in FILES (CIF, POSCAR, JSON).

    A file that cannot be used is reported and the others go on; the exit code is 1 then.

    \b
    farm predict new.cif --plot new.png
    farm predict *.cif --json > spectra.json
    farm predict POSCAR --rung ipa --checkpoint 0003-8be2d1
    """
    from trainer.inference.predict import Prediction, Predictor, Property, predict_file

    settings = settings_of(ctx)
    predictor = Predictor.load(settings.checkpoints_dir, checkpoint, rung)
    predictions: list[Prediction] = []
    n_failed = 0
    if directions and not predictor.has_directions:
        raise InputError(
            f"{predictor.card.version} gives no directions: its architecture predicts their mean",
            fix="Take a checkpoint of the architecture `oscillators`, or leave --directions out",
        )
    for path in files:
        for result in predict_file(predictor, path, Property(quantity), directions=directions):
            if isinstance(result, Prediction):
                predictions.append(result)
                if not as_json:
                    click.echo(_summary(result))
            else:
                n_failed += 1
                click.echo(f"farm: {result}", err=True)
    if as_json:
        documents = [prediction.to_dict() for prediction in predictions]
        # One file with one crystal is one document; several are a list.
        echo_json(documents[0] if len(files) == 1 and len(documents) == 1 else documents)
    if plot is not None and predictions:
        _plot(predictor, predictions, plot, settings)
    if n_failed:
        ctx.exit(1)


def _summary(prediction: Prediction) -> str:
    peak = int(prediction.values.argmax())
    sure = "" if prediction.expected_sc is None else f", expected SC {prediction.expected_sc:.2f}"
    return (
        f"{prediction.crystal.material_id}: {prediction.rung.upper()} {prediction.quantity.value}, maximum "
        f"{prediction.values[peak]:.4g} at {prediction.energies_ev[peak]:.2f} eV{sure} "
        f"({prediction.checkpoint}, {prediction.milliseconds:.0f} ms)"
    )


def _plot(predictor: Predictor, predictions: list[Prediction], path: Path, settings: Settings) -> None:
    from trainer.inference.plot import plot_predictions
    from trainer.inference.predict import derive, stored_spectrum

    references = []
    for prediction in predictions:
        stored = stored_spectrum(
            settings.store_path, prediction.crystal, predictor.rung, predictor.energies_ev
        )
        references.append(
            None if stored is None else derive(stored, predictor.energies_ev, prediction.quantity)
        )
    plot_predictions(predictions, references, path)
    click.echo(f"wrote {path}", err=True)
