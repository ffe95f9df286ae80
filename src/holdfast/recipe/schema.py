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
from pydantic import Field

from holdfast.recipe.blocks import Closed, Count, Data, SuiteSpec

DType = Literal["auto", "float32", "bfloat16", "float16"]


class Budget(Closed):
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


class Lora(Closed):
    """Low-rank adapters (Hu et al. 2022): what learns is ΔW = alpha / r · B·A beside each linear weight W that stays.

    Attributes:
        r: Rank: rows of A and columns of B.
        alpha: Scale; ΔW is B·A times ``alpha / r``.
        dropout: Share of the adapter's inputs that training sets to 0.
    """

    r: Count = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Penalty(Closed):
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
    strength: Annotated[float, Field(ge=0)] = 100.0
    normalize: bool = True
    on: str | dict[str, Any] | None = None


class Every(Closed):
    """Moments at a fixed distance."""

    every: Count


class Recipe(Closed):
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
    probes: dict[str, dict[str, Any]] = Field(default_factory=dict)
    probe_budget: Annotated[float, Field(gt=0)] | None = None
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

    @pydantic.field_validator("probes", mode="before")
    @classmethod
    def _named_probes(cls, probes: Any) -> Any:
        """A list of names, or a name without options, means their defaults."""
        if isinstance(probes, list) and all(isinstance(name, str) for name in probes):
            return {name: {} for name in probes}
        if isinstance(probes, dict):
            return {name: {} if options is None else options for name, options in probes.items()}
        return probes

    @property
    def probes_asked(self) -> dict[str, dict[str, Any]]:
        """The probes by name with their options, the one of ``kl_rows`` among them."""
        return {**self.probes, **({"kl": {"rows": self.kl_rows}} if self.kl_rows else {})}

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
        for key in ("kl_rows", "probes", "probe_budget"):
            if not values[key]:
                values.pop(key)
        if self.heal is None:
            values.pop("heal")
        if self.penalty is None:
            values.pop("penalty")
        return values

    def hash(self) -> str:
        """Return 16 hex digits of SHA-256 over `identity`."""
        text = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
