"""Blocks of a recipe that name problems: what is learned, what is replayed, what is asked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Purpose = Literal["id", "ood", "retention"]


class Closed(BaseModel):
    """A block that has the keys of the schema and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Open(BaseModel):
    """A block whose further keys are the options of the environment (or the file) it names."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    environment: str | None = None
    path: str | None = None
    rule: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The keys beyond the schema: options of the environment."""
        return dict(self.model_extra or {})


class Replay(Open):
    """Other data, of which a small share of training's rows comes, so that the model keeps what it knew.

    The replayed rows stand in the place of rows of ``data``: a step has as many rows, and a run as many steps, as
    without.

    Attributes:
        share: Of the rows of training: of 0.05 every 20th row in the order of the run is a replayed one.
        answers: ``given``: demonstrations of the environment, or the completions of the file. ``base``: what the
            untrained model itself answers, right or not, asked once before the first step.
        environment, rule, path: As in ``data``; a rule or option that is not given is that of ``data`` if it is the
            same environment.
        size: Number of distinct problems of the environment. With ``answers: base`` so many are asked, of a file so
            many rows at most.
        split, seed: Split and seed of the environment's rows.
        temperature, max_new_tokens: With ``answers: base``, of the answers. Greedy unless ``temperature`` is above 0;
            an answer that is cut off at ``max_new_tokens`` is left out.
    """

    share: Annotated[float, Field(gt=0, lt=1)]
    answers: Literal["given", "base"] = "given"
    size: Count = 2_048
    split: str = "train"
    seed: int = 0
    temperature: Annotated[float, Field(ge=0)] = 0.0
    max_new_tokens: Count = 128

    @pydantic.model_validator(mode="after")
    def _of_use(self) -> Replay:
        fields = type(self).model_fields
        # By value: a resolved recipe spells defaults out.
        idle = [name for name in ("temperature", "max_new_tokens") if vars(self)[name] != fields[name].default]
        if self.answers == "given" and idle:
            raise ValueError(f"{' and '.join(idle)} do nothing with answers: given; leave out, or write answers: base")
        return self


class Data(Open):
    """What is learned: demonstrations of an environment, or the user's own file.

    Attributes:
        environment, rule: Name of an environment and of the rule to train under; further keys are its options.
        path: A ``.jsonl`` file with ``prompt``/``completion``, ``messages`` or ``problem``/``solution`` rows.
        size: Number of distinct problems of the environment, each a row, or a row a step; they repeat, in a new order,
            when training needs more.
        split, seed: Split and seed of the environment's rows.
        corrupt: Share of learned tokens that are replaced by others, to see what an objective makes of mistakes.
        replay: Other data, of which a share of the rows comes; see `Replay`.
    """

    size: Count = 20_480
    split: str = "train"
    seed: int = 0
    corrupt: Annotated[float, Field(ge=0, lt=1)] = 0.0
    replay: Replay | None = None


class Decoding(Closed):
    """How a model answers. Greedy unless ``temperature`` is above 0.

    Attributes:
        temperature, top_p, max_new_tokens, samples: Of generation, under their usual names.
        teacher_forced: Do not generate: read, in one forward pass, what the model would say at each position of the
            demonstration, and judge that. Asks every step of a problem alone, given that all before went right.
    """

    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Count = 128
    samples: Count = 1
    teacher_forced: bool = False

    @pydantic.model_validator(mode="after")
    def _one_way(self) -> Decoding:
        if self.teacher_forced and (self.temperature > 0 or self.samples > 1):
            raise ValueError("teacher_forced generates nothing: leave out temperature and samples")
        return self


class SuiteSpec(Open):
    """A named set of problems that the model is asked during training and at the end.

    Attributes:
        purpose: ``id``, ``ood`` or ``retention``.
        environment, rule: As in ``data``; options that are not given are those of ``data`` if it is the same
            environment.
        path, scorer: A ``.jsonl`` file instead (or the folder or the name of a data set), judged by ``exact``,
            ``contains`` or ``math``. Its one further key is ``prompt_style``.
        size: Problems at the last moment (and at step 0).
        size_during: Problems at the moments between; all of them if not given, and 0 asks only at the ends.
        split: ``test`` (held out), its parts ``recall`` and ``compose``, or ``train`` to see memorization.
        seed: The suite's own seed: not the run's.
        attempts: Answers per problem, each after the first with feedback (success@1 and success@attempts).
        decoding: Greedy by default.
    """

    purpose: Purpose
    scorer: str = "exact"
    size: Count = 400
    size_during: Annotated[int, Field(ge=0)] | None = None
    split: str = "test"
    seed: int = 1_000
    attempts: Count = 1
    decoding: Decoding = Decoding()

    @pydantic.model_validator(mode="after")
    def _one_attempt_if_forced(self) -> SuiteSpec:
        if self.decoding.teacher_forced and self.attempts > 1:
            raise ValueError("a teacher_forced suite generates nothing, so it has one attempt; leave out attempts")
        return self
