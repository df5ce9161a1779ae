"""The trainer's line in `farm doctor`: on what the model would be fitted."""

from __future__ import annotations

from importlib.util import find_spec

from farm.checks import Check


def device_checks() -> list[Check]:
    """torch and its device; a GPU is welcome, not required, and roles that do not fit need no torch."""
    if find_spec("torch") is None:
        fix = "To fit and predict: `pip install '.[trainer]'` where its source is"
        return [Check(name="torch", ok=False, detail="not installed", fix=fix, required=False)]
    import torch

    if torch.cuda.is_available():
        detail = f"{torch.__version__} on {torch.cuda.get_device_name(0)}"
        return [Check(name="torch", ok=True, detail=detail, required=False)]
    return [
        Check(name="torch", ok=True, detail=f"{torch.__version__}, CPU (no CUDA device)", required=False)
    ]
