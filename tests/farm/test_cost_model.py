"""The correction that measured jobs make to predicted costs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from farm.cost_model import CostModel, model_key
from farm.cost_prior import MOST_FEATURES, CostPrior
from farm.errors import InputError
from farm.protocol import PRESETS
from farm.stage import Engine, Stage

PRIOR = CostPrior(cpu_s=(2.0, 5.0, 3.0), features=(0.3, -0.2, 0.5), memory_mb=250.0)
SLOPES = np.array([[0.4, 0.3, 0.2], [-0.3, -0.5, -0.1], [0.2, 0.3, 0.4]])


def _prior(rng: np.random.Generator) -> CostPrior:
    seconds = np.exp(rng.normal(1.0, 0.7, 3))
    return CostPrior(tuple(map(float, seconds)), tuple(map(float, rng.normal(0.0, 0.5, 3))), 250.0)  # type: ignore[arg-type]


def _measure(
    prior: CostPrior, rng: np.random.Generator, *, factor: float = 1.0, scatter: float = 0.15
) -> dict[Stage, float]:
    """Seconds that follow a law of the features, with a scatter that the stages have in part together."""
    noise = scatter * (0.6 * rng.normal() + 0.8 * rng.normal(size=3))
    seconds = factor * np.array(prior.cpu_s) * np.exp(np.array(prior.features) @ SLOPES + noise)
    return dict(zip(Stage, map(float, seconds), strict=True))


def _taught(n: int, seed: int = 0, **how: float) -> CostModel:
    rng = np.random.default_rng(seed)
    model = CostModel()
    for _ in range(n):
        prior = _prior(rng)
        model = model.observe(prior, _measure(prior, rng, **how))
    return model


def _errors(model: CostModel, n: int = 200) -> list[float]:
    """Of the total, in the logarithm, on materials of the same law without scatter."""
    rng = np.random.default_rng(1)
    priors = [_prior(rng) for _ in range(n)]
    truth = [sum(_measure(prior, rng, scatter=0.0).values()) for prior in priors]
    return [math.log(model.predict(p).cpu_s / t) for p, t in zip(priors, truth, strict=True)]


def test_without_data_there_is_no_correction() -> None:
    prediction = CostModel().predict(PRIOR)
    assert list(prediction.stages_cpu_s.values()) == pytest.approx(PRIOR.cpu_s)
    assert prediction.cpu_s == pytest.approx(10.0)
    # Another machine may be twice as fast or as slow.
    assert prediction.low_cpu_s < 5.0
    assert prediction.high_cpu_s > 20.0


def test_law_of_the_features_is_learnt() -> None:
    assert np.median(np.abs(_errors(CostModel()))) > 0.1
    assert np.median(np.abs(_errors(_taught(200)))) < 0.03


@pytest.mark.parametrize("factor", [30.0, 1 / 30])
def test_other_machine_is_believed_after_a_few_jobs(factor: float) -> None:
    prediction = _taught(12, factor=factor).predict(replace(PRIOR, features=()))
    assert prediction.cpu_s == pytest.approx(10.0 * factor, rel=0.25)


def test_interval_holds_four_of_five() -> None:
    model, rng = _taught(300), np.random.default_rng(2)
    inside = 0
    for _ in range(1000):
        prior = _prior(rng)
        prediction, seconds = model.predict(prior), sum(_measure(prior, rng).values())
        inside += prediction.low_cpu_s < seconds < prediction.high_cpu_s
    # A little wider on normal noise: it is that of a t of six degrees of freedom.
    assert 770 <= inside <= 880


def test_interval_narrows_with_data() -> None:
    def width(model: CostModel) -> float:
        prediction = model.predict(PRIOR)
        return prediction.high_cpu_s / prediction.low_cpu_s

    assert width(CostModel()) > 2 * width(_taught(10)) > 2 * width(_taught(300)) > 2.0


def test_wild_outliers_do_not_wreck_it() -> None:
    model, rng = _taught(50), np.random.default_rng(3)
    before = model.predict(PRIOR)
    for factor in (1e4, 1e-4, 1e4):
        prior = _prior(rng)
        model = model.observe(prior, _measure(prior, rng, factor=factor))
    after = model.predict(PRIOR)
    assert after.cpu_s == pytest.approx(before.cpu_s, rel=0.05)
    assert after.high_cpu_s / after.low_cpu_s < 1.5 * before.high_cpu_s / before.low_cpu_s


def test_faster_program_is_believed_in_time() -> None:
    model, rng = _taught(1000), np.random.default_rng(7)
    for _ in range(250):
        prior = _prior(rng)
        model = model.observe(prior, _measure(prior, rng, factor=0.5))
    assert np.median(_errors(model)) == pytest.approx(math.log(0.5), abs=0.2)


@pytest.mark.parametrize("wrong", [None, 0.0, -1.0, math.nan, math.inf])
def test_job_without_all_stages_teaches_nothing(wrong: float | None) -> None:
    measured = dict(zip(Stage, (2.0, 5.0, 3.0), strict=True))
    if wrong is None:
        del measured[Stage.BANDS]
    else:
        measured[Stage.BANDS] = wrong
    assert CostModel().observe(PRIOR, measured).n_observed == 0


def test_model_survives_packing() -> None:
    model = _taught(20)
    copy = CostModel.unpack(model.pack())
    assert copy.n_observed == 20
    assert copy.predict(PRIOR) == model.predict(PRIOR)
    rng = np.random.default_rng(6)
    measured = _measure(PRIOR, rng)
    assert copy.observe(PRIOR, measured).predict(PRIOR) == model.observe(PRIOR, measured).predict(PRIOR)


@pytest.mark.parametrize("features", [(), (0.1,), (0.25,) * MOST_FEATURES])
def test_prior_survives_packing_as_float32(features: tuple[float, ...]) -> None:
    prior = replace(PRIOR, features=features, cpu_s=(0.1, 12345.678, 3e6))
    packed = prior.pack()
    copy = CostPrior.unpack(packed)
    assert len(packed) <= 64
    assert copy.cpu_s == pytest.approx(prior.cpu_s, rel=1e-6)
    assert copy.features == pytest.approx(features, rel=1e-6)
    assert copy.memory_mb == 250.0


@pytest.mark.parametrize("kind", [CostPrior, CostModel])
def test_bytes_of_another_version_or_length_are_refused(kind: type[CostPrior] | type[CostModel]) -> None:
    packed = PRIOR.pack() if kind is CostPrior else _taught(3).pack()
    for wrong in (b"", packed[:-1], packed + b"\0", bytes([packed[0] + 1]) + packed[1:]):
        with pytest.raises(InputError, match="not a cost"):
            kind.unpack(wrong)


@pytest.mark.parametrize(
    "change",
    [
        {"cpu_s": (1.0, 0.0, 1.0)},
        {"cpu_s": (1.0, math.nan, 1.0)},
        {"features": (math.inf,)},
        {"features": (0.0,) * (MOST_FEATURES + 1)},
        {"memory_mb": math.nan},
    ],
)
def test_impossible_prior_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="not a cost prior"):
        replace(PRIOR, **change)  # type: ignore[arg-type]


def test_key_is_one_for_each_engine_and_protocol() -> None:
    paper, demo = PRESETS["paper"], PRESETS["demo"]
    assert model_key(Engine.NATIVE, paper.hash) == model_key("native", paper.hash)
    keys = {model_key(engine, protocol.hash) for engine in Engine for protocol in (paper, demo)}
    assert len(keys) == 4
