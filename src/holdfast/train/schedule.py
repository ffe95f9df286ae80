"""Learning rates and moments as pure functions of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Shape = Literal["constant", "constant_with_warmup", "linear", "cosine"]


def warmup(warmup_steps: float, *, total: int) -> int:
    """Return whole warm-up steps; a number below 1 is a share of ``total`` (Transformers' convention)."""
    return round(warmup_steps * total) if warmup_steps < 1 else round(warmup_steps)


def learning_rate(shape: Shape, step: int, *, peak: float, total: int, warmup_steps: int) -> float:
    """Return the rate of optimizer step ``step`` (the first is 0).

    Warm-up rises linearly and reaches ``peak`` at step ``warmup_steps``; its first step is peak / (warmup_steps + 1),
    not 0, so that no step is wasted. ``linear`` and ``cosine`` fall to 0 at ``total``.

    Example:
        >>> [round(learning_rate("linear", s, peak=1.0, total=4, warmup_steps=0), 2) for s in range(5)]
        [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    if shape != "constant" and step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    if shape in ("constant", "constant_with_warmup"):
        return peak
    progress = min(1.0, (step - warmup_steps) / max(1, total - warmup_steps))
    return peak * (1 - progress) if shape == "linear" else peak * 0.5 * (1 + math.cos(math.pi * progress))


def moments(spec: str | int | Sequence[int], *, total: int) -> tuple[int, ...]:
    """Return the steps at which a run is measured: always 0 and ``total``.

    Args:
        spec: ``"log"``: halved from ``total`` down to 5, because out-of-distribution success turns early
            (reference: the public log of a GeneralPoints run turns at 0.3 % of its epoch); ``"end"``; a distance; or
            the steps themselves.
        total: Steps of the run.

    Example:
        >>> moments("log", total=160)
        (0, 5, 10, 20, 40, 80, 160)
    """
    if spec == "log":
        chosen = {total}
        while (half := min(chosen) / 2) >= 5:
            chosen.add(round(half))
    elif spec == "end":
        chosen = {total}
    elif isinstance(spec, int):
        chosen = set(range(0, total + 1, spec))
    else:
        chosen = {int(step) for step in spec if int(step) <= total}
    return tuple(sorted(chosen | {0, total}))
