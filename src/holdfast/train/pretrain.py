"""Pre-training of a small base model from scratch: another method of the one loop.

A pre-training recipe is a YAML file: an architecture of Transformers, words of the tokenizer, a mixture of problems,
and how long and how fast to train. The folder that comes out is a plain Hugging Face model with ``exposure.json`` (what
it has seen) and the recipe that made it. What it can do is measured by `holdfast eval`, like any model.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import pydantic
import torch
import transformers
from accelerate import Accelerator
from pydantic import BaseModel, ConfigDict, Field

from holdfast.data.batches import collate
from holdfast.data.encode import encode_all
from holdfast.environments import MIXTURES, TEXTS
from holdfast.errors import Fault, RecipeError, RunFolderError, UserError
from holdfast.members import build, find
from holdfast.models.compute import dtype_named
from holdfast.models.word_tokenizer import build as build_tokenizer
from holdfast.objectives.engine import Engine, Totals
from holdfast.objectives.nll import NLL
from holdfast.recipe import read
from holdfast.records import Example
from holdfast.train import checkpoint, run_folder
from holdfast.train.loop import Loop
from holdfast.train.method import Batch, MicroLoss
from holdfast.train.processes import accelerator as processes_accelerator
from holdfast.train.processes import processes
from holdfast.train.progress import Progress, Silent
from holdfast.train.stepping import Settings, seed_everything

UNFINISHED = "training-in-progress"
"""Folder inside the output that holds logs and checkpoints until the base is finished."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Words(_Closed):
    """Words of the tokenizer: those of the environments' texts, of ``texts``, and the numbers below ``numbers``."""

    environments: list[str]
    texts: list[str] = Field(default_factory=list)
    numbers: Annotated[int, Field(ge=0)] = 100


class PretrainRecipe(_Closed):
    """Everything needed to make a base again.

    Attributes:
        architecture: Arguments of a Transformers config, ``model_type`` among them; the vocabulary is added.
        tokenizer: Its words.
        mixture: Name and fields of a member of ``MIXTURES``.
        learn: ``answers`` alone, or ``all`` tokens of a row, prompts too, as in language modeling.
        steps, batch_size, learning_rate, …: As in a training recipe; a batch is computed in ``micro_batches`` parts.
        dtype: Of the weights that are saved.
    """

    architecture: dict[str, Any]
    tokenizer: Words
    mixture: dict[str, Any]
    learn: Literal["answers", "all"] = "answers"
    steps: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)] = 256
    micro_batches: Annotated[int, Field(ge=1)] = 4
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.98
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    compute_dtype: str = "bfloat16"
    attn_implementation: str = "eager"
    dtype: str = "bfloat16"
    save_steps: Annotated[int, Field(ge=0)] = 250
    seed: int = 0


class Mixture(Protocol):
    """What a member of ``MIXTURES`` offers."""

    name: str

    def example(self, number: int, *, step: int, seed: int) -> Example:
        """Return row ``number`` of optimizer step ``step``: a pure function."""

    def exposure(self) -> dict[str, Any]:
        """Return what a base trained on the mixture has seen."""


@dataclass
class _Rows:
    """Method of the loop: fresh rows of a mixture, plain cross-entropy on the answers."""

    mixture: Mixture
    tokenizer: Any
    engine: Engine
    batch_size: int
    micro_batches: int
    learn: str
    seed: int
    accelerator: Accelerator
    step: int = field(default=0)

    def next_step(self) -> Sequence[Batch]:
        own = range(self.batch_size)
        examples = [self.mixture.example(number, step=self.step, seed=self.seed) for number in own]
        self.step += 1
        # Rows of like length share a micro-batch: the gradient of the step is the same, with a third less padding.
        encoded = sorted(encode_all(examples, self.tokenizer), key=lambda row: len(row.input_ids))
        if self.learn == "all":
            encoded = [replace(row, n_prompt=1) for row in encoded]
        size = -(-len(encoded) // self.micro_batches)
        parts = [encoded[at : at + size] for at in range(0, len(encoded), size)]
        batches = [collate(part, pad_token_id=self.tokenizer.pad_token_id) for part in parts]
        return [batch.to(self.accelerator.device).tensors() for batch in batches]

    def totals(self, batches: Sequence[Batch]) -> Totals:
        return self.engine.totals(batches)

    def loss(self, batch: Batch, totals: Totals) -> MicroLoss:
        out = self.engine.loss(batch, totals)
        return MicroLoss(out.loss, {"loss": out.objective, "target_tokens": out.tokens})

    def summarize(self, sums: Mapping[str, float]) -> Mapping[str, float]:
        return {"loss": sums["loss"], "nll": sums["loss"]}

    def step_cost(self, batches: Sequence[Batch]) -> Mapping[str, float]:
        rows = sum(len(batch["input_ids"]) for batch in batches)
        return {"steps": 1, "examples": rows, "tokens": sum(batch["input_ids"].numel() for batch in batches)}

    def stepped(self) -> None:
        """Nothing learns beside the model."""

    @property
    def cursor(self) -> Mapping[str, int]:
        return {"step": self.step}

    def seek(self, cursor: Mapping[str, int]) -> None:
        self.step = int(cursor["step"])


def read_recipe(path: Path) -> PretrainRecipe:
    """Read a pre-training recipe.

    Raises:
        RecipeError: with all faults of the file.
    """
    try:
        return PretrainRecipe.model_validate(read(path))
    except pydantic.ValidationError as error:
        faults = [
            Fault(".".join(map(str, detail["loc"])), f"{detail['msg']} (found {detail['input']!r})")
            for detail in error.errors(include_url=False)
        ]
        raise RecipeError(str(path), faults) from error


def pretrain(path: Path, output: Path, *, progress: Progress | None = None) -> Path:
    """Make a base model as the recipe at ``path`` says and return its folder, ``output``.

    A broken-off pre-training goes on where it stood. The same recipe makes the same model on one machine.

    Raises:
        RecipeError: the recipe has faults.
        RunFolderError: ``output`` holds a finished model already.
        UserError: it was launched in several processes.
    """
    progress = progress or Silent()
    recipe = read_recipe(path)
    if (output / "config.json").exists():
        raise RunFolderError(f"{output} holds a model already; models are not overwritten, choose another folder")
    if processes().count > 1:
        raise UserError("pre-training runs in one process; start it without a launcher")
    mixture: Mixture = build("mixture", recipe.mixture, MIXTURES)
    folder = output / UNFINISHED
    with run_folder.lock(folder):
        run_folder.remove_litter(folder)
        seed_everything(recipe.seed)
        tokenizer = make_tokenizer(recipe)
        model = make_model(recipe, tokenizer)
        progress.said(f"{sum(weight.numel() for weight in model.parameters()):,} parameters, {len(tokenizer)} words")
        accelerator = processes_accelerator()
        model = model.to(accelerator.device)
        rows = _Rows(
            mixture=mixture,
            tokenizer=tokenizer,
            engine=Engine(model, NLL()),
            batch_size=recipe.batch_size,
            micro_batches=recipe.micro_batches,
            learn=recipe.learn,
            seed=recipe.seed,
            accelerator=accelerator,
        )
        loop = Loop(model, rows, settings=_settings(recipe), accelerator=accelerator)
        saved = _train(loop, recipe, folder=folder, tokenizer=tokenizer, mixture=mixture, progress=progress)
        if saved is None:
            raise KeyboardInterrupt
    for file in saved.iterdir():
        if file.is_file() and file.name != checkpoint.MANIFEST:
            shutil.copy2(file, output / file.name)
    shutil.copy2(path, output / "pretraining.yaml")
    shutil.rmtree(folder)
    return output


def make_tokenizer(recipe: PretrainRecipe) -> Any:
    """Return the tokenizer of a recipe: words of the environments' texts and of its own, numbers, and all bytes."""
    texts = list(recipe.tokenizer.texts)
    for name in recipe.tokenizer.environments:
        texts.extend(find("environment", name, TEXTS)())
    positions = int(recipe.architecture.get("max_position_embeddings", 2048))
    return build_tokenizer(texts, numbers=recipe.tokenizer.numbers, positions=positions)


def make_model(recipe: PretrainRecipe, tokenizer: Any) -> Any:
    """Return the model of a recipe with random weights, in float32.

    Raises:
        RecipeError: Transformers refuses the architecture.
    """
    try:
        config = transformers.AutoConfig.for_model(
            **recipe.architecture,
            vocab_size=-(-len(tokenizer) // 64) * 64,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
        return transformers.AutoModelForCausalLM.from_config(
            config, attn_implementation=recipe.attn_implementation, dtype=torch.float32
        )
    except (TypeError, ValueError, KeyError) as fault:
        raise RecipeError("architecture", [Fault("architecture", str(fault))]) from fault


def _settings(recipe: PretrainRecipe) -> Settings:
    return Settings(
        steps=recipe.steps,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=recipe.warmup_steps,
        weight_decay=recipe.weight_decay,
        adam_beta2=recipe.adam_beta2,
        max_grad_norm=recipe.max_grad_norm,
        save_steps=recipe.save_steps,
        compute_dtype=dtype_named(recipe.compute_dtype),
    )


def _train(
    loop: Loop, recipe: PretrainRecipe, *, folder: Path, tokenizer: Any, mixture: Mixture, progress: Progress
) -> Path | None:
    """Train to the end and return the last checkpoint; None if the user interrupted (a checkpoint was saved)."""
    names = [name for name, weight in loop.model.named_parameters() if weight.requires_grad]
    identity = {"recipe": recipe.model_dump_json()}
    before = checkpoint.newest(folder, identity=identity)
    if before is not None:
        loop.resume(checkpoint.restore(before, model=loop.model, optimizer=loop.optimizer))
    progress.started(recipe.steps, at=loop.step)

    def save(state: Loop) -> None:
        checkpoint.write(
            folder,
            step=state.step,
            model=state.model,
            tokenizer=tokenizer,
            optimizer=state.optimizer,
            trainable=names,
            state=state.state(),
            logs=(),
            save_dtype=dtype_named(recipe.dtype),
            identity=identity,
            exposure={"environments": {mixture.name: mixture.exposure()}},
        )
        checkpoint.prune(folder, keep=1)

    ended = loop.run(moments=(), on_moment=lambda _: None, on_log=progress.logged, save=save)
    if ended.status == "interrupted":
        return None
    save(loop)
    return folder / f"checkpoint-{ended.step}"
