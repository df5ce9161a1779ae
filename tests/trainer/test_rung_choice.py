"""Whether IPA is enough: the bound, the error margin, what the model cannot see, and who is asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from farm.crystal import Crystal
from farm.errors import CheckpointError
from farm.rung import Rung, RungChoice
from trainer.inference.rung_choice import choose_rung, make_chooser
from trainer.inference.similarity import PredictedSimilarity, SimilarityModel

RockSalt = Callable[..., Crystal]


def predicted(value: float, error: float = 0.05) -> PredictedSimilarity:
    return PredictedSimilarity(value=value, error=error)


@pytest.mark.parametrize(
    ("value", "error", "rung"),
    [
        (0.97, 0.05, Rung.IPA),
        (0.9, 0.05, Rung.RPA),  # alike enough, but it may be wrong by more than there is to spare
        (0.9, 0.02, Rung.IPA),
        (0.75, 0.0, Rung.RPA),
        (0.875, 0.0, Rung.IPA),
        (1.0, 0.125, Rung.IPA),
        (1.0, 0.126, Rung.RPA),
        (-0.2, 0.05, Rung.RPA),
    ],
)
def test_ipa_is_enough_when_even_the_lower_bound_is(value: float, error: float, rung: Rung) -> None:
    choice = choose_rung(predicted(value, error), 0.875)
    assert choice.rung is rung
    assert choice.predicted_similarity == value


def test_the_reasons_are_few_and_name_what_was_asked() -> None:
    found = [choose_rung(predicted(0.01 * n), 0.9).reason for n in range(100)]
    assert sorted(set(found)) == [
        "predicted SC[RPA;IPA], less its error, is at least 0.9",
        "predicted SC[RPA;IPA], less its error, is below 0.9",
    ]


@pytest.mark.parametrize("unusable", [None, predicted(math.nan), predicted(0.99, math.inf)])
def test_what_is_not_predicted_is_computed_at_rpa(unusable: PredictedSimilarity | None) -> None:
    choice = choose_rung(unusable, 0.9)
    assert (choice.rung, choice.predicted_similarity) == (Rung.RPA, None)
    assert choice.reason == "the model cannot tell RPA from IPA"


class _Recorded:
    """Predicts by place, as a model does for a batch."""

    def predict(self, crystals: Sequence[Crystal]) -> list[PredictedSimilarity | None]:
        return [predicted(0.99) if crystal.species[1] == "O" else None for crystal in crystals]


def test_a_chooser_answers_for_each_crystal_in_order(
    monkeypatch: pytest.MonkeyPatch, rock_salt: RockSalt, tmp_path: Path
) -> None:
    loaded: list[Path] = []

    def load(directory: Path, reference: str | None = None) -> _Recorded:
        assert reference is None  # the one in use
        loaded.append(directory)
        return _Recorded()

    monkeypatch.setattr(SimilarityModel, "load", load)
    choose = make_chooser(tmp_path, 0.9)
    crystals = [rock_salt("Mg", "O"), rock_salt("Mg", "S"), rock_salt("Ca", "O")]
    choices = choose(crystals)
    assert [choice.rung for choice in choices] == [Rung.IPA, Rung.RPA, Rung.IPA]
    assert all(isinstance(choice, RungChoice) for choice in choices)
    choose(crystals[:1])
    assert loaded == [tmp_path]  # once, however many batches


def test_without_a_checkpoint_there_is_no_chooser(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        make_chooser(tmp_path / "checkpoints", 0.9)
