"""What measured jobs teach of the cost of the next: a regression that is refitted with every one.

The physical estimate of farm/cost.py is the prior: what is learnt is y = log(measured / prior) of the three
stages, by a linear model in a few features x of the crystal (with the constant 1, p of them),

    y = W^T x + e,   e ~ t_nu(0, S),   W | S ~ N(0, S x L0^-1),   S ~ inverse Wishart(Psi0, nu0)

so that with nothing measured there is no correction. Given the weighted sums A = L0 + sum w x x^T,
B = sum w x y^T and C = Psi0 + sum w y y^T of n jobs (Gelman et al., Bayesian Data Analysis, 3rd ed., 3.6
and 14.2)

    E[W] = A^-1 B,   E[S] = (C - B^T A^-1 B) / (nu0 + n - 4),   var y = E[S] (1 + x^T A^-1 x)

A job weighs w = (nu + 3) / (nu + d^2), d its distance from the prediction in standard deviations: the
weights of a Student t (Lange, Little and Taylor, J. Am. Stat. Assoc. 84, 881 (1989)), each taken once,
when the job comes. A wild one adds at most nu + 3 squared deviations to the spread, and draws the mean the
less the wilder it is; where all are wild, as on a machine 30 times slower, the spread grows until they
count.

The sums fade by 1 - 1/150 with each job: machines and programs change, and in the order of cost the last
jobs are most like the next.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from farm.cost_prior import MOST_FEATURES, CostPrior
from farm.errors import InputError
from farm.stage import Engine, Stage

FloatArray = NDArray[np.float64]

_STAGES = tuple(Stage)
_N_STAGES = len(_STAGES)
_SIZE = MOST_FEATURES + 1

# Degrees of freedom of the noise, and its 90 % quantile: some materials cost twice what their like do.
_NOISE_DOF = 6.0
_QUANTILE_90 = 1.4398
# Before anything is measured: stages scatter by 25 %, a bad estimate of one is in part one of all, and
# the machine may be half or twice as fast (standard deviation 0.25 / sqrt(0.16) = 0.6 in the logarithm).
_PRIOR_DOF = 6.0
_PRIOR_SCATTER = 0.25
_PRIOR_CORRELATION = 0.3
_PRIOR_PRECISION = np.array([0.16] + [0.6] * MOST_FEATURES)
_PRIOR_SQUARES = (
    (_PRIOR_DOF - _N_STAGES - 1)
    * _PRIOR_SCATTER**2
    * ((1 - _PRIOR_CORRELATION) * np.eye(_N_STAGES) + _PRIOR_CORRELATION)
)

# Jobs that are remembered: with 500 materials of one program it predicts as well as without an end to
# memory, and a program that became twice as fast is believed after 250 jobs, without after thousands.
_MEMORY_JOBS = 150.0

# Another version means other features or stages: nothing of it can be used.
_VERSION = 1
_MODEL_HEAD = struct.Struct("<BId")


@dataclass(frozen=True)
class Prediction:
    """Predicted CPU seconds: by stage the median, their sum, and the 80 % interval of the sum."""

    stages_cpu_s: dict[Stage, float]
    cpu_s: float
    low_cpu_s: float
    high_cpu_s: float


def _zeros(*shape: int) -> FloatArray:
    return np.zeros(shape)


@dataclass(frozen=True, eq=False)
class CostModel:
    """Weighted sums over measured jobs.

    n_observed: jobs that were taken in; n_remembered: the same, faded as the sums are
    gram:       sum w x x^T, shape ``(p, p)``
    cross:      sum w x y^T, shape ``(p, 3)``
    squares:    sum w y y^T, shape ``(3, 3)``
    """

    n_observed: int = 0
    n_remembered: float = 0.0
    gram: FloatArray = field(default_factory=lambda: _zeros(_SIZE, _SIZE))
    cross: FloatArray = field(default_factory=lambda: _zeros(_SIZE, _N_STAGES))
    squares: FloatArray = field(default_factory=lambda: _zeros(_N_STAGES, _N_STAGES))

    def observe(self, prior: CostPrior, measured: Mapping[Stage, float]) -> CostModel:
        """With one more job; itself where a stage is missing, not positive or not finite."""
        seconds = np.array([measured.get(stage, 0.0) for stage in _STAGES], dtype=np.float64)
        if not (np.isfinite(seconds) & (seconds > 0)).all():
            return self
        x = _regressors(prior)
        y = np.log(seconds / np.array(prior.cpu_s))
        mean, covariance = self._predict_log(x)
        distance2 = float((y - mean) @ np.linalg.solve(covariance, y - mean))
        weight = (_NOISE_DOF + _N_STAGES) / (_NOISE_DOF + distance2)
        kept = 1.0 - 1.0 / _MEMORY_JOBS
        return CostModel(
            n_observed=self.n_observed + 1,
            n_remembered=kept * self.n_remembered + 1.0,
            gram=kept * self.gram + weight * np.outer(x, x),
            cross=kept * self.cross + weight * np.outer(x, y),
            squares=kept * self.squares + weight * np.outer(y, y),
        )

    def predict(self, prior: CostPrior) -> Prediction:
        """Seconds by stage, and by the delta method (to first order) the spread of their sum."""
        mean, covariance = self._predict_log(_regressors(prior))
        stages = np.array(prior.cpu_s) * np.exp(mean)
        total = float(stages.sum())
        shares = stages / total
        spread = math.exp(_QUANTILE_90 * math.sqrt(float(shares @ covariance @ shares)))
        return Prediction(
            stages_cpu_s=dict(zip(_STAGES, stages.tolist(), strict=True)),
            cpu_s=total,
            low_cpu_s=total / spread,
            high_cpu_s=total * spread,
        )

    def _predict_log(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and scale matrix of log(measured / prior), shapes ``(3,)`` and ``(3, 3)``."""
        coefficients, inverse, scatter = self._posterior
        return x @ coefficients, scatter * (1.0 + x @ inverse @ x)

    @cached_property
    def _posterior(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """E[W], shape ``(p, 3)``; A^-1, shape ``(p, p)``; E[S], shape ``(3, 3)``."""
        inverse = np.linalg.inv(np.diag(_PRIOR_PRECISION) + self.gram).astype(np.float64)
        coefficients = inverse @ self.cross
        squares = _PRIOR_SQUARES + self.squares - self.cross.T @ coefficients
        dof = _PRIOR_DOF + self.n_remembered - _N_STAGES - 1
        return coefficients, inverse, squares / dof

    def pack(self) -> bytes:
        """Some 950 bytes."""
        sums = np.concatenate([self.gram.ravel(), self.cross.ravel(), self.squares.ravel()])
        return _MODEL_HEAD.pack(_VERSION, self.n_observed, self.n_remembered) + sums.astype("<f8").tobytes()

    @classmethod
    def unpack(cls, packed: bytes) -> CostModel:
        """The inverse of :meth:`pack`. Raises InputError for another version or length."""
        shapes = [(_SIZE, _SIZE), (_SIZE, _N_STAGES), (_N_STAGES, _N_STAGES)]
        sizes = [rows * columns for rows, columns in shapes]
        body = packed[_MODEL_HEAD.size :]
        if len(packed) != _MODEL_HEAD.size + 8 * sum(sizes) or packed[0] != _VERSION:
            raise InputError("not a cost model of this version", fix="Let it be fitted anew")
        _, n_observed, n_remembered = _MODEL_HEAD.unpack(packed[: _MODEL_HEAD.size])
        parts = np.split(np.frombuffer(body, dtype="<f8").astype(np.float64), np.cumsum(sizes)[:-1])
        gram, cross, squares = (part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
        return cls(
            n_observed=n_observed, n_remembered=n_remembered, gram=gram, cross=cross, squares=squares
        )


def model_key(engine: Engine | str, protocol_hash: str) -> str:
    """The jobs that share one model: those of an engine under one protocol, by the beginning of its hash.

    Corrections do not carry over: a model of 500 materials predicts those of a second protocol worse
    than twenty of its own (benchmarks/cost_model.py).
    """
    return f"{Engine(engine).value}.{protocol_hash[:12]}"


def _regressors(prior: CostPrior) -> FloatArray:
    x = np.zeros(_SIZE)
    x[0] = 1.0
    x[1 : 1 + len(prior.features)] = prior.features
    return x
