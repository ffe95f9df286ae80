"""Ask a model the problems of a suite, grade the replies, and estimate rates with intervals.

Estimates are named ``eval_<suite>_<metric>``: ``success`` (first attempt), ``success_at_<k>`` (any of k attempts),
``format_ok``, each fact that the verdicts hold, and ``score`` where an outsider's scorer grades between 0 and 1. Of a
suite that is split, the plain name holds the report half, and ``…_select`` the half that a signal may read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from holdfast.environments.base import Episode
from holdfast.errors import DataError
from holdfast.evaluate.file_problems import NOT_APPLICABLE
from holdfast.evaluate.suite import SELECT, Suite
from holdfast.records import Outcome, Sample
from holdfast.rollout.episodes import answer
from holdfast.rollout.generate import Progress
from holdfast.statistics import Estimate, cluster_bootstrap, rate_by_cluster


@dataclass(frozen=True)
class SuiteResult:
    """What one evaluation of one suite found.

    Attributes:
        name: The suite's.
        samples: One a problem (and sample), in the suite's order.
        estimates: See the module docstring.
        unfinished: Replies that were cut off by ``max_new_tokens`` or the model's positions; many of them mean that
            the suite measures the cap.
        generated_tokens: Tokens that the model wrote.
    """

    name: str
    samples: tuple[Sample, ...]
    estimates: Mapping[str, Estimate]
    unfinished: int = 0
    generated_tokens: int = 0


def evaluate(
    model: Any,
    tokenizer: Any,
    suite: Suite,
    *,
    batch_size: int,
    compute_dtype: torch.dtype,
    n: int | None = None,
    progress: Progress | None = None,
) -> SuiteResult:
    """Let the model answer the first ``n`` problems of a suite and grade the replies.

    Args:
        model, tokenizer, batch_size, compute_dtype, progress: See `holdfast.rollout.generate.generate`.
        suite: What is asked.
        n: Problems; ``suite.size`` if None.

    Raises:
        DataError: a problem leaves no room for an answer, or cannot be rendered.
    """
    played = answer(
        model, tokenizer, suite.episodes(n), suite.decoding,
        batch_size=batch_size, compute_dtype=compute_dtype, seed=suite.seed, progress=progress,
    )  # fmt: skip
    replies = [tuple(reply.text for reply in answered.replies) for answered in played]
    said = [reply for answered in played for reply in answered.replies]
    return _graded(
        suite, [answered.episode for answered in played], replies,
        unfinished=sum(not reply.finished for reply in said), generated_tokens=sum(reply.n_tokens for reply in said),
    )  # fmt: skip


def score_replies(suite: Suite, replies: Sequence[Sequence[str]], *, n: int | None = None) -> SuiteResult:
    """Grade replies that are already there: `evaluate` without a model.

    Args:
        suite: What was asked.
        replies: For each problem (and sample, problem by problem) the replies, one an attempt; those after the
            episode's end are not read.
        n: Problems; ``suite.size`` if None.

    Raises:
        DataError: the number of replies does not fit, or a question has none.
    """
    episodes = list(suite.episodes(n))
    if len(episodes) != len(replies):
        raise DataError(f"suite {suite.name}: {len(replies)} replies for {len(episodes)} questions")
    read: list[tuple[str, ...]] = []
    for number, own in enumerate(replies):
        if not own:
            raise DataError(f"suite {suite.name}: question {number} has no reply")
        heard: list[str] = []
        for reply in own:
            if episodes[number].done:
                break
            episodes[number] = episodes[number].step(reply)
            heard.append(reply)
        read.append(tuple(heard))
    return _graded(suite, episodes, read)


def estimates_of(suite: Suite, samples: Sequence[Sample]) -> dict[str, Estimate]:
    """Return all estimates of a suite from its samples; see the module docstring."""
    reported = [sample for sample in samples if sample.half != SELECT]
    estimates = dict(_estimates(suite, reported, ""))
    if suite.halves:
        selecting = [sample for sample in samples if sample.half == SELECT]
        estimates |= dict(_estimates(suite, selecting, f"_{SELECT}"))
    return estimates


def _graded(
    suite: Suite,
    episodes: Sequence[Episode],
    replies: Sequence[tuple[str, ...]],
    *,
    unfinished: int = 0,
    generated_tokens: int = 0,
) -> SuiteResult:
    graded = [_sample(suite, episode, own) for episode, own in zip(episodes, replies, strict=True)]
    samples = tuple(sample for sample in graded if sample.code != NOT_APPLICABLE)
    return SuiteResult(suite.name, samples, estimates_of(suite, samples), unfinished, generated_tokens)


def _sample(suite: Suite, episode: Episode, replies: tuple[str, ...]) -> Sample:
    problem, first = episode.problem, episode.verdicts[0]
    asked = suite.environment.prompt(problem)
    return Sample(
        index=problem.index,
        key=problem.key,
        half=suite.half_of(problem),
        prompt=next((message["content"] for message in asked if message["role"] == "user"), asked[0]["content"]),
        replies=replies,
        outcome=first.outcome,
        code=first.code,
        solved_at=episode.solved_at,
        reward=first.reward,
        facts=dict(first.facts),
        expected=suite.environment.demonstrate(problem),
    )


def _estimates(suite: Suite, samples: Sequence[Sample], suffix: str) -> Iterator[tuple[str, Estimate]]:
    for metric, values in _metrics(suite, samples).items():
        known = [(value, sample.key) for value, sample in zip(values, samples, strict=True) if value is not None]
        numbers, keys = [float(value) for value, _ in known], [key for _, key in known]
        yield f"eval_{suite.name}_{metric}{suffix}", _estimate(suite, numbers, keys)


def _metrics(suite: Suite, samples: Sequence[Sample]) -> dict[str, list[float | None]]:
    """Return one value a sample for each metric; None where the question makes no sense for a reply."""
    metrics: dict[str, list[float | None]] = {
        "success": [float(sample.outcome is Outcome.CORRECT) for sample in samples]
    }
    if suite.attempts > 1:
        metrics[f"success_at_{suite.attempts}"] = [float(sample.solved_at is not None) for sample in samples]
    metrics["format_ok"] = [float(sample.outcome is not Outcome.UNPARSED) for sample in samples]
    for fact in dict.fromkeys(name for sample in samples for name in sample.facts):
        found = [sample.facts.get(fact) for sample in samples]
        metrics[fact] = [None if value is None else float(value) for value in found]
    if any(0 < sample.reward < 1 for sample in samples) and suite.environment.name == "file":
        metrics["score"] = [sample.reward for sample in samples]
    return metrics


def _estimate(suite: Suite, values: Sequence[float], keys: Sequence[str]) -> Estimate:
    within = all(0 <= value <= 1 for value in values)
    graded = suite.decoding.samples > 1 or any(value not in (0.0, 1.0) for value in values)
    if graded:
        estimate = cluster_bootstrap(values, keys, seed=suite.seed)
        # A bootstrap of constants, or of a handful of problems, has no interval; the wider Wilson interval has.
        if estimate.low is not None or not within:
            return estimate
    return rate_by_cluster(values, keys)
