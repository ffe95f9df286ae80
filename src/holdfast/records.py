"""Frozen values that cross borders: what one part of holdfast hands to another, and what a run folder keeps.

Everything here is plain data (no torch), turns into JSON and back without loss, and never stores an unknown as 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NotRequired, Protocol, TypedDict

from holdfast.statistics import Estimate, Rate

if TYPE_CHECKING:
    from PIL.Image import Image

Scalar = bool | int | float | str | None


class Picture(Protocol):
    """An image that is asked about: a frozen value that draws itself when it is needed, so that no pixels are kept."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, known without drawing."""

    def render(self) -> Image:
        """Return the image in RGB; the same pixels at every call."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values that fix every pixel: what fingerprints read."""

    def words(self) -> str:
        """Return in short what it shows, for people who read samples."""


RAW = "raw"
"""Role of a message that is the whole prompt as text, special tokens included: no chat template touches it."""


class Message(TypedDict):
    """One chat message; ``images`` stand before ``content``. ``role``: ``system``, ``user``, ``assistant`` or `RAW`."""

    role: str
    content: str
    images: NotRequired[tuple[Picture, ...]]


def in_words(message: Message) -> str:
    """Return what a message says, its pictures in words: for people who read samples, never for a model."""
    shown = "".join(f"[picture: {picture.words()}]\n" for picture in message.get("images", ()))
    return shown + message["content"]


class Outcome(StrEnum):
    """What a reply is worth. Compare with ``is``: every member is truthy."""

    CORRECT = "correct"
    """The reply solves the problem."""
    WRONG = "wrong"
    """The reply was understood and does not solve the problem."""
    UNPARSED = "unparsed"
    """No answer could be read from the reply."""


@dataclass(frozen=True)
class Problem:
    """One problem of an environment: a pure function of (seed, rule, split, index).

    Attributes:
        environment: Name of the environment.
        rule: Name of the rule under which it is asked.
        split: ``train``, ``validation``, ``test``, ``recall`` or ``compose``.
        index: Position in the endless sequence of its (seed, rule, split).
        seed: Seed of that sequence.
        key: The cluster for statistics and for the select/report halves: problems with one key are one problem.
        facts: What the environment needs to ask, demonstrate and verify (plain JSON values).
    """

    environment: str
    rule: str
    split: str
    index: int
    seed: int
    key: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """The judgement of one reply.

    Attributes:
        outcome: CORRECT, WRONG or UNPARSED.
        reward: The paper's reward. It never enters a success rate.
        code: Short stable name of the reason, for example ``"wrong_value"``.
        message: Words that can be fed back to the model.
        facts: Further observations; True, False, or None where the question makes no sense for this reply.
        confusion: Class of the right answer and class of the reply, where answers fall into a few classes.
    """

    outcome: Outcome
    reward: float
    code: str
    message: str
    facts: Mapping[str, bool | None] = field(default_factory=dict)
    confusion: tuple[str, str] | None = None


@dataclass(frozen=True)
class Example:
    """One row of training data: a conversation whose last message, the assistant's, is learned.

    Attributes:
        prompt: All messages before the completion.
        completion: The text that is learned.
        source: Where the row came from, for error messages (``"my.jsonl:7"``).
    """

    prompt: tuple[Message, ...]
    completion: str
    source: str = ""


class Verb(StrEnum):
    """What a signal wants."""

    GO_ON = "go_on"
    STOP = "stop"
    ABSTAIN = "abstain"
    """The signal cannot tell (yet)."""


@dataclass(frozen=True)
class Decision:
    """A signal's answer at one moment.

    Attributes:
        verdict: Go on, stop, or no opinion.
        best_step: The step whose weights the signal would keep; None while unknown.
        keep: Whether the weights of this very moment should be kept.
        reason: One line in words.
    """

    verdict: Verb
    best_step: int | None = None
    keep: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Record:
    """All that was measured at one moment of a run; one line of ``records.jsonl``.

    Attributes:
        step: Optimizer steps taken.
        spent: The budget used so far: ``steps``, ``flops``, ``flops_6nd``, ``flops_trainable``, ``tokens``,
            ``target_tokens``, ``examples``.
        readings: One number a name, spelled ``eval_<suite>_<metric>``, or a probe's name. None is unknown.
        estimates: The readings that are rates or means, with interval and n, under the same names.
        decision: The stopping signal's answer, if a signal is at work.
    """

    step: int
    spent: Mapping[str, float]
    readings: Mapping[str, float | None]
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    decision: Decision | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; NaN and infinity become None."""
        decision = self.decision
        return {
            "step": self.step,
            "spent": dict(self.spent),
            "readings": {name: finite(value) for name, value in self.readings.items()},
            "estimates": {name: estimate.to_json() for name, estimate in self.estimates.items()},
            "decision": None
            if decision is None
            else {
                "verdict": decision.verdict.value,
                "best_step": decision.best_step,
                "keep": decision.keep,
                "reason": decision.reason,
            },
        }

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> Record:
        """Inverse of `to_json`."""
        decision = row.get("decision")
        return Record(
            step=row["step"],
            spent=MappingProxyType(dict(row["spent"])),
            readings=MappingProxyType(dict(row["readings"])),
            estimates=MappingProxyType({k: Estimate.from_json(v) for k, v in row.get("estimates", {}).items()}),
            decision=None
            if decision is None
            else Decision(Verb(decision["verdict"]), decision["best_step"], decision["keep"], decision["reason"]),
        )


@dataclass(frozen=True)
class Sample:
    """One graded problem of one suite at one moment; one line of ``samples/<suite>/<step>.jsonl``.

    Attributes:
        index: Position of the problem in its suite.
        key: The problem's cluster.
        half: ``select``, ``report``, or ``all`` where the suite is not split.
        prompt: The first user message, its pictures in words.
        replies: What the model said, one entry an attempt.
        outcome: Of the first attempt; of a whole episode of several steps, that of the first step that went wrong.
        code: Reason of that verdict.
        solved_at: Number of the first correct attempt from 1 on; None if there was none.
        reward: Of the first attempt.
        facts: Of the first attempt.
        expected: The demonstration, if there is one.
        step: Which question of a problem of several steps, from 0 on, where each is asked alone.
        counts: Further rates of an episode as (successes, trials).
        confusion: Of the first attempt.
    """

    index: int
    key: str
    half: str
    prompt: str
    replies: tuple[str, ...]
    outcome: Outcome
    code: str
    solved_at: int | None
    reward: float
    facts: Mapping[str, bool | None]
    expected: str | None = None
    step: int = 0
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    confusion: tuple[str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; what most samples lack is left out."""
        row = dict(self.__dict__)
        row["replies"] = list(self.replies)
        row["outcome"] = self.outcome.value
        row["facts"] = dict(self.facts)
        for name in ("step", "counts", "confusion"):
            value = row.pop(name)
            if value:
                row[name] = value
        return row

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> Sample:
        """Inverse of `to_json`."""
        fields = dict(row)
        fields["replies"] = tuple(fields["replies"])
        fields["outcome"] = Outcome(fields["outcome"])
        fields["counts"] = {name: (hit, of) for name, (hit, of) in fields.get("counts", {}).items()}
        if "confusion" in fields:
            fields["confusion"] = tuple(fields["confusion"])
        return Sample(**fields)


def finite(value: float | None) -> float | None:
    """Return ``value``, or None where it is unknown or not finite."""
    return None if value is None or not math.isfinite(value) else value


__all__ = [
    "RAW",
    "Decision",
    "Estimate",
    "Example",
    "Message",
    "Outcome",
    "Picture",
    "Problem",
    "Rate",
    "Record",
    "Sample",
    "Scalar",
    "Verb",
    "Verdict",
    "finite",
    "in_words",
]
