"""Faults of ``data.replay`` beside its own keys: a method that cannot replay, and problems that a suite asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from holdfast.environments.base import SPLITS
from holdfast.errors import Fault
from holdfast.plan.method_faults import OWN_LOSS
from holdfast.recipe import Replay, SuiteSpec, suggest

OVERLAPPING = {"test", "recall", "compose"}
"""The last two are parts of the first."""


def replay_faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of ``data.replay`` with what stands around it; its own keys are judged elsewhere."""
    data, method = values.get("data"), values.get("method", "sft")
    replay = data.get("replay") if isinstance(data, Mapping) else None
    if not isinstance(replay, Mapping):
        return
    name = method.get("name") if isinstance(method, Mapping) else method
    if name in OWN_LOSS:
        why = "compares pairs of answers" if name == "dpo" else "plays"
        yield Fault(
            "data.replay",
            f"{name} {why}, so there are no rows that replayed ones could stand for",
            "Leave replay out, or write method: sft or rft.",
        )
    split = replay.get("split", Replay.model_fields["split"].default)
    if isinstance(split, str) and split not in SPLITS:
        yield Fault("data.replay.split", f"no such split: {split!r}", suggest(split, SPLITS))
    yield from _leaks(replay, split, values.get("suites"))


def _leaks(replay: Mapping[str, Any], split: Any, suites: Any) -> Iterator[Fault]:
    """Faults of a split that shares problems with a suite. To ask what is learned, as ``train`` does, is no fault."""
    if split == "train" or replay.get("environment") is None or not isinstance(suites, Mapping):
        return
    for name, suite in suites.items():
        if not isinstance(suite, Mapping) or suite.get("environment") != replay["environment"]:
            continue
        asked = suite.get("split", SuiteSpec.model_fields["split"].default)
        if asked == split or {asked, split} <= OVERLAPPING:
            yield Fault(
                "data.replay.split",
                f"{split} has problems that suite {name} asks (its split is {asked})",
                "Leave split out: train shares no problem with the others.",
            )
            return
