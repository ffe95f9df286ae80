"""What a user should hear before training: settings that work and still mislead."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from holdfast.evaluate.math_suites import find_suite
from holdfast.recipe import Recipe
from holdfast.statistics import Rate

WIDE = 0.07
"""Half an interval wider than this hides most differences between arms."""
SWALLOWED = 0.5
"""Share of learning weights that the export rounds back to the base, above which a run is warned."""
MANTISSA = {"bfloat16": 7, "float16": 10, "float32": 23, "float64": 52}
MISMATCH = 0.05
"""Relative mismatch of eq. 3 above which arms should not be called matched."""


def cautions(
    recipe: Recipe,
    *,
    sizes: Mapping[str, int],
    steps: int,
    reference_steps: int,
    stored: str,
    save_dtype: str,
    weight_scale: float,
    mismatch: float | None,
) -> Iterator[str]:
    """Yield warnings about a recipe, in sentences.

    Args:
        recipe: Checked.
        sizes: Questions of each suite.
        steps: Of this run.
        reference_steps: Of the reference that the budget is matched to.
        stored: Name of the dtype in which the model is loaded.
        save_dtype: Name of the dtype of checkpoints.
        weight_scale: Standard deviation of the weights.
        mismatch: Of eq. 3; None without ``match``.
    """
    yield from _blind(recipe)
    yield from _hot(recipe)
    yield from _of_replay(recipe)
    yield from _small(recipe, sizes)
    if recipe.lora is None:  # a weight beside which an adapter learns moves by another rule; training measures it
        yield from _rounding(recipe, steps, stored=stored, save_dtype=save_dtype, weight_scale=weight_scale)
    if mismatch is not None and abs(mismatch) > MISMATCH:
        yield f"the matched depth misses its target by {100 * mismatch:+.0f} %: too coarse to call the arms matched"
    if recipe.lr_scheduler_type in ("linear", "cosine") and steps != reference_steps:
        yield (
            f"lr_scheduler_type {recipe.lr_scheduler_type} stretches over {steps} steps here and over "
            f"{reference_steps} in the reference, so the arms differ in their rates too; constant_with_warmup does not"
        )


def _rounding(recipe: Recipe, steps: int, *, stored: str, save_dtype: str, weight_scale: float) -> Iterator[str]:
    """Say what is lost to rounding: at every step without float32 masters, else when a checkpoint is written."""
    if recipe.master_dtype == "stored" and stored == "float32":
        yield "master_dtype: stored changes nothing: the model is loaded in float32; write dtype: bfloat16"
    elif recipe.master_dtype == "stored":
        share = rounded_back(recipe.learning_rate, 1, save_dtype=stored, weight_scale=weight_scale)
        yield (
            f"master_dtype: stored trains in pure {stored}: at learning_rate {recipe.learning_rate:g} a step leaves "
            f"about {100 * share:.1f} % of the learning weights as they were, and nothing adds up what was lost"
        )
        return
    share = rounded_back(recipe.learning_rate, steps, save_dtype=save_dtype, weight_scale=weight_scale)
    if share > SWALLOWED:
        yield (
            f"at learning_rate {recipe.learning_rate:g} over {steps} steps about {100 * share:.0f} % of the learning "
            f"weights would round back to the base in {save_dtype} checkpoints; write save_dtype: float32, or a larger "
            "rate"
        )


def rounded_back(learning_rate: float, steps: int, *, save_dtype: str, weight_scale: float) -> float:
    """Return the share of learning weights that a checkpoint in ``save_dtype`` would round back to the base.

    A weight that lay on the grid of ``save_dtype`` moves by about learning_rate · sqrt(steps) under Adam (steps of one
    rate, directions mostly independent) and survives rounding if that exceeds half the grid's spacing at the weight.
    Weights are taken as normal with standard deviation ``weight_scale``. It is an expectation; training measures the
    real share as ``unchanged_after_export_fraction``: 86 % where this gives 84 % (rate 1e-6, 60 steps, scale 0.02).

    Example:
        >>> round(rounded_back(1e-6, 60, save_dtype="bfloat16", weight_scale=0.02), 2)
        0.84
        >>> rounded_back(1e-3, 160, save_dtype="bfloat16", weight_scale=0.02)
        0.0
    """
    reach = learning_rate * math.sqrt(max(steps, 1))
    quantiles = (np.arange(2000) + 0.5) / 2000
    sizes = weight_scale * _half_normal(quantiles)
    spacing = 2.0 ** (np.floor(np.log2(sizes)) - MANTISSA.get(save_dtype, 7))
    return float(np.mean(spacing / 2 > reach))


def _half_normal(quantiles: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Quantiles of |N(0, 1)|, by inverting the error function on a grid (SciPy would cost its import)."""
    grid = np.linspace(0.0, 6.0, 6001)
    reached = np.array([math.erf(value / math.sqrt(2)) for value in grid])
    return np.asarray(np.interp(quantiles, reached, grid), dtype=np.float64)


def _blind(recipe: Recipe) -> Iterator[str]:
    purposes = {suite.purpose for suite in recipe.suites.values()}
    if not purposes:
        yield "the recipe has no suites: neither what is gained nor what is lost will be seen"
    elif not purposes & {"ood", "retention"}:
        yield "no suite has purpose ood or retention: what the model loses will not be seen"
    for name, suite in recipe.suites.items():
        if suite.path is not None and suite.path == recipe.data.path:
            yield f"suite {name} asks the very rows that are learned: it measures memory, not skill"
        named = None if suite.path is None else find_suite(suite.path)
        if named is not None and suite.size < named.problems:
            yield f"suite {name} asks the first {suite.size} of {suite.path}; size: {named.problems} asks all of it"
        if suite.decoding.samples > 1 and suite.decoding.temperature == 0:
            yield f"suite {name} draws {suite.decoding.samples} greedy answers a problem: they are all alike"
    if recipe.stop is not None and recipe.evaluate_at == "end":
        yield "stop can do nothing: evaluate_at is end, and by then it is over"


def _hot(recipe: Recipe) -> Iterator[str]:
    """Say what becomes of a model that learns, as they are, answers that were drawn above temperature 1."""
    spec = recipe.method if isinstance(recipe.method, Mapping) else {}
    temperature = spec.get("temperature", 1.0)
    if spec.get("name") == "rft" and temperature > 1:
        yield (
            f"method.temperature {temperature:g}: rft learns the answers as they are, so the model itself becomes as "
            "hot as they were drawn, and answers worse when it is sampled; draw at temperature 1"
        )


def _of_replay(recipe: Recipe) -> Iterator[str]:
    """Say where replay does not do, or suites no longer say, what their names promise."""
    data, replay = recipe.data, recipe.data.replay
    if replay is None:
        return
    same = replay.environment == data.environment
    rule = replay.rule or data.rule if same else replay.rule
    rows = (replay.path, replay.environment, rule, replay.split, replay.seed)
    if replay.answers == "given" and rows == (data.path, data.environment, data.rule, data.split, data.seed):
        yield "data.replay repeats the very rows that are learned; name other data, or write answers: base"
    for name, suite in recipe.suites.items():
        if suite.path is not None and suite.path == replay.path:
            yield f"suite {name} asks the very rows that are replayed: it measures memory, not skill"
        asked = suite.rule or (data.rule if suite.environment == data.environment else None)
        again = suite.environment is not None and (suite.environment, asked) == (replay.environment, rule)
        if again and suite.purpose == "ood":
            yield (
                f"suite {name} has purpose ood and asks under {asked}, which is replayed: its score is of what is "
                "learned; write purpose: retention, or replay something else"
            )


def _small(recipe: Recipe, sizes: Mapping[str, int]) -> Iterator[str]:
    few = []
    for name, n in sizes.items():
        read = recipe.stop is not None and f"eval_{name}_" in str(recipe.stop.get("reads", ""))
        shown = n // 2 if read else n
        half = half_width(shown)
        if half > WIDE:
            halves = ", half of which a stopping signal reads" if read else ""
            few.append(f"{name} {n}{halves} (± {100 * half:.0f} points)")
    if few:
        yield f"few problems: {', '.join(few)}; 95 % intervals at a success of one half, where 400 reach ± 5"


def half_width(n: int) -> float:
    """Return half of Wilson's 95 % interval at a success of one half of ``n``.

    Example:
        >>> round(half_width(400), 3)
        0.049
    """
    low, high = Rate(n / 2, n).wilson()
    return (high - low) / 2
