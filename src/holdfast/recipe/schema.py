"""The schema of one run: a YAML file into frozen values, or every fault of it at once.

A recipe is data. Keys of TRL and Transformers that we honor keep their names and meaning; other keys of theirs are
refused by name with what to write instead. Whether names of members (environments, objectives, signals, …) and their
options exist is judged one layer up, in `holdfast.plan.check`, because a recipe knows no member.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Purpose = Literal["id", "ood", "retention"]
DType = Literal["auto", "float32", "bfloat16", "float16"]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class _Open(BaseModel):
    """A block whose further keys are the options of the environment (or the file) it names."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    environment: str | None = None
    path: str | None = None
    rule: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The keys beyond the schema: options of the environment."""
        return dict(self.model_extra or {})


class Replay(_Open):
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


class Data(_Open):
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


class Decoding(_Closed):
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


class SuiteSpec(_Open):
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


class Budget(_Closed):
    """How long to train; it alone owns the number of steps.

    Attributes:
        steps: Optimizer steps of the reference; 0 measures the model as it is (healed, where the recipe heals it).
        epochs: Passes over the data instead of steps.
        match: What an arm shares with the reference: ``steps``, exact ``flops``, ``6nd`` (6·N·D), or ``trainable``
            (6·N_trainable·D, the literal "fewer parameters, more steps").
        reference: The selection whose ``steps`` fix the budget; it trains the weights themselves, also beside ``lora``.
    """

    steps: Annotated[int, Field(ge=0)] | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    match: Literal["steps", "flops", "6nd", "trainable"] = "steps"
    reference: str | dict[str, Any] = "full"

    @pydantic.model_validator(mode="after")
    def _one_length(self) -> Budget:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        return self


class Lora(_Closed):
    """Low-rank adapters (Hu et al. 2022): what learns is ΔW = alpha / r · B·A beside each linear weight W that stays.

    Attributes:
        r: Rank: rows of A and columns of B.
        alpha: Scale; ΔW is B·A times ``alpha / r``.
        dropout: Share of the adapter's inputs that training sets to 0.
    """

    r: Count = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Penalty(_Closed):
    """A term of the loss beside any objective: how much an update D = W − W_0 has to do with the base's directions.

    Attributes:
        name: ``union``: ‖D‖² − ‖(I − P) D (I − Q)‖², all that touches the base's first singular directions on either
            side. ``core``: ‖P D Q‖², what maps them onto one another, alone (RPSFT).
        k: Directions: a share of a matrix's smaller side in (0, 1], or a number of them.
        strength: Times the term; 0 measures it and changes nothing.
        normalize: Relative to each matrix's ‖W_0‖², and the mean over matrices; else their sum, as published.
        on: Which of the matrices that learn, as ``trainable`` says it; None: all in the decoder's blocks.
    """

    name: Literal["union", "core"]
    k: float | int = 0.2
    strength: Annotated[float, Field(ge=0)] = 1.0
    normalize: bool = True
    on: str | dict[str, Any] | None = None


class Every(_Closed):
    """Moments at a fixed distance."""

    every: Count


class Recipe(_Closed):
    """Everything needed to repeat one run. See the module docstring; ``docs/recipes.md`` lists the keys."""

    model_name_or_path: str
    model_revision: str | None = None
    dtype: DType = "auto"
    compute_dtype: DType = "auto"
    save_dtype: DType = "auto"
    master_dtype: Literal["float32", "stored"] = "float32"
    attn_implementation: str | None = None
    heal: dict[str, Any] | None = None

    method: str | dict[str, Any] = "sft"
    trainable: str | dict[str, Any] = "full"
    lora: Lora | None = None
    objective: str | dict[str, Any] = "nll"
    penalty: Penalty | None = None
    normalize: Literal["tokens", "examples", "weights"] = "tokens"
    data: Data
    suites: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], SuiteSpec] = Field(default_factory=dict)
    evaluate_at: Literal["log", "end"] | Every | list[Annotated[int, Field(ge=0)]] = "log"
    budget: Budget
    kl_rows: Annotated[int, Field(ge=0)] = 0
    stop: dict[str, Any] | None = None

    learning_rate: Annotated[float, Field(ge=0)]
    lr_scheduler_type: Literal["constant", "constant_with_warmup", "linear", "cosine"] = "constant_with_warmup"
    warmup_steps: Annotated[float, Field(ge=0)] = 0.03
    per_device_train_batch_size: Count = 8
    gradient_accumulation_steps: Count = 1
    per_device_eval_batch_size: Count = 64
    max_length: Count | None = None
    share_prefixes: Literal["auto", "always", "never"] = "auto"
    generate_with: Literal["auto", "transformers", "vllm"] = "transformers"
    vllm_gpu_memory_utilization: Annotated[float, Field(gt=0, lt=1)] = 0.3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-8
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    gradient_checkpointing: bool = False

    logging_steps: Count = 10
    save_steps: Annotated[int, Field(ge=0)] = 0
    save_total_limit: Count | None = None
    output_dir: str | None = None
    run_name: str | None = None
    report_to: list[str] = Field(default_factory=list)
    seed: int = 0

    def resolved(self) -> dict[str, Any]:
        """Return plain YAML/JSON values, defaults written out."""
        return self.model_dump(mode="json")

    def identity(self) -> dict[str, Any]:
        """Return what the numbers of the run depend on: everything but where it is written and what it is called.

        A selection that is its own reference spends the same under any matching, and without a matching there is no
        reference, so such recipes are one. The reference trains the weights themselves, so a selection with adapters is
        never its own reference.
        """
        values = self.resolved()
        budget = values["budget"]
        if self.lora is None:
            values.pop("lora")
        if self.lora is None and budget["reference"] == values["trainable"]:
            budget["match"] = "steps"
        if budget["match"] == "steps":
            budget["reference"] = "full"
        for key in ("output_dir", "run_name", "report_to", "save_total_limit", "vllm_gpu_memory_utilization"):
            values.pop(key)
        # Where they ask for nothing, as if there were no such keys, as when older runs were named.
        if values["generate_with"] != "vllm":  # what ``auto`` became is a fact of the run, as its threads are
            values.pop("generate_with")
        if values["data"]["replay"] is None:
            values["data"].pop("replay")
        if not self.kl_rows:
            values.pop("kl_rows")
        if self.heal is None:
            values.pop("heal")
        if self.penalty is None:
            values.pop("penalty")
        return values

    def hash(self) -> str:
        """Return 16 hex digits of SHA-256 over `identity`."""
        text = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
