"""Ask a model the problems of a suite, grade the replies, and estimate rates with intervals.

Estimates are named ``eval_<suite>_<metric>``: ``success`` (first attempt; the mean over several samples, also known as
avg@k), ``pass_at_<k>`` (at least one of k samples is right, for powers of two), ``success_at_<k>`` (any of k
attempts with feedback), ``format_ok``, each fact that the verdicts hold, each of an episode's ``counts`` (pooled), and
``score`` where an outsider's scorer grades between 0 and 1. Of a suite that is split, the plain name holds the report
half, and ``…_select`` the half that a signal may read.

Of a problem of several steps, success means that every step was right at the first attempt. A teacher-forced suite asks
each step alone instead, so that its success is the share of steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from holdfast.data.encode import encode_all
from holdfast.environments.base import Episode, Revision
from holdfast.errors import DataError
from holdfast.evaluate.file_problems import NOT_APPLICABLE
from holdfast.evaluate.pass_at_k import by_problem, sizes
from holdfast.evaluate.suite import SELECT, Suite
from holdfast.models.ranks import ALONE, Ranks
from holdfast.records import Example, Outcome, Sample, Verdict, in_words
from holdfast.rollout.answerer import TRANSFORMERS, Answerer
from holdfast.rollout.episodes import answer
from holdfast.rollout.forced import argmax_replies
from holdfast.rollout.generate import Progress, positions, spoken
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
    ranks: Ranks = ALONE,
    answerer: Answerer = TRANSFORMERS,
) -> SuiteResult:
    """Let the model answer the first ``n`` problems of a suite and grade the replies.

    Args:
        model, tokenizer, batch_size, compute_dtype, progress, ranks: See `holdfast.rollout.generate.generate`.
        suite: What is asked.
        n: Problems; ``suite.size`` if None.
        answerer: Who answers; what a teacher-forced suite reads is never generated.

    Raises:
        DataError: a problem leaves no room for an answer, or cannot be rendered.
    """
    if suite.decoding.teacher_forced:
        return _forced(model, tokenizer, suite, batch_size=batch_size, compute_dtype=compute_dtype, n=n, ranks=ranks)
    played = answer(
        model, tokenizer, suite.episodes(n), suite.decoding,
        batch_size=batch_size, compute_dtype=compute_dtype, seed=suite.seed, progress=progress, ranks=ranks,
        answerer=answerer,
    )  # fmt: skip
    replies = [tuple(reply.text for reply in answered.replies) for answered in played]
    said = [reply for answered in played for reply in answered.replies]
    return _graded(
        suite, [answered.episode for answered in played], replies,
        unfinished=sum(not reply.finished for reply in said), generated_tokens=sum(reply.n_tokens for reply in said),
    )  # fmt: skip


def _forced(
    model: Any,
    tokenizer: Any,
    suite: Suite,
    *,
    batch_size: int,
    compute_dtype: torch.dtype,
    n: int | None,
    ranks: Ranks,
) -> SuiteResult:
    environment, steps = suite.environment, suite.steps(n)
    examples = [
        Example(environment.prompt(step), environment.demonstrate(step), f"suite {suite.name}, problem {step.index}")
        for _, step in steps
    ]
    rows = encode_all(examples, tokenizer, max_length=positions(model))
    said = argmax_replies(model, tokenizer, rows, batch_size=batch_size, compute_dtype=compute_dtype, ranks=ranks)
    texts = spoken(tokenizer, said)
    episodes = [Revision.start(environment, step).step(text) for (_, step), text in zip(steps, texts, strict=True)]
    return _graded(suite, episodes, [(text,) for text in texts], step_numbers=[number for number, _ in steps])


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
    if suite.decoding.teacher_forced:
        raise DataError(f"suite {suite.name} is teacher-forced: there are no replies of its own to grade")
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
    step_numbers: Sequence[int] | None = None,
    unfinished: int = 0,
    generated_tokens: int = 0,
) -> SuiteResult:
    numbers = step_numbers or [0] * len(episodes)
    graded = [_sample(suite, episode, own, step) for episode, own, step in zip(episodes, replies, numbers, strict=True)]
    samples = tuple(sample for sample in graded if sample.code != NOT_APPLICABLE)
    return SuiteResult(suite.name, samples, estimates_of(suite, samples), unfinished, generated_tokens)


def _sample(suite: Suite, episode: Episode, replies: tuple[str, ...], step: int) -> Sample:
    problem = episode.problem
    decides = _deciding(episode)
    asked = suite.environment.prompt(problem)
    whole = suite.environment.multi_step and not suite.decoding.teacher_forced
    return Sample(
        index=problem.index,
        key=problem.key,
        half=suite.half_of(problem),
        prompt=in_words(next((message for message in asked if message["role"] == "user"), asked[0])),
        replies=replies,
        outcome=decides.outcome,
        code=decides.code,
        solved_at=episode.solved_at,
        reward=decides.reward,
        facts={} if whole else dict(decides.facts),
        expected=suite.environment.demonstrate(problem),
        step=step,
        counts=dict(episode.counts),
        confusion=decides.confusion,
    )


def _deciding(episode: Episode) -> Verdict:
    """The verdict on the first attempt as a whole: of several steps, on the first that went wrong."""
    wrong = next((verdict for verdict in episode.verdicts if verdict.outcome is not Outcome.CORRECT), None)
    if wrong is None and episode.solved_at is None:
        return Verdict(Outcome.WRONG, 0.0, "no_room", "The conversation outgrew the model's context.")
    return wrong or episode.verdicts[0]


def _estimates(suite: Suite, samples: Sequence[Sample], suffix: str) -> Iterator[tuple[str, Estimate]]:
    for metric, values in _metrics(suite, samples).items():
        known = [(value, sample.key) for value, sample in zip(values, samples, strict=True) if value is not None]
        numbers, keys = [float(value) for value, _ in known], [key for _, key in known]
        yield f"eval_{suite.name}_{metric}{suffix}", _estimate(suite, numbers, keys)
    for k in sizes(suite.decoding.samples):
        passed = by_problem(samples, k)
        yield (
            f"eval_{suite.name}_pass_at_{k}{suffix}",
            _estimate(suite, [v for v, _ in passed], [key for _, key in passed]),
        )
    for count in dict.fromkeys(name for sample in samples for name in sample.counts):
        tallies = [(sample.key, *sample.counts.get(count, (0, 0))) for sample in samples]
        trials = [(float(k < hits), key) for key, hits, of in tallies for k in range(of)]
        yield f"eval_{suite.name}_{count}{suffix}", _estimate(suite, [v for v, _ in trials], [key for _, key in trials])


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
    # Problems of one key are one problem, so that a key counts once; steps of a route are alike, but not the same.
    alike = suite.decoding.samples > 1 or suite.environment.multi_step
    if alike or any(value not in (0.0, 1.0) for value in values):
        estimate = cluster_bootstrap(values, keys, seed=suite.seed)
        # A bootstrap of constants, or of a handful of problems, has no interval; the wider Wilson interval has.
        if estimate.low is not None or not within:
            return estimate
    return rate_by_cluster(values, keys)
