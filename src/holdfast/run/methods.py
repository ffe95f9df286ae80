"""The methods of the loop, made of a recipe: what supplies its batches, what it minimizes, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import nn

from holdfast.data.batches import Batches, SharePrefixes, example_with_pictures
from holdfast.data.encode import preview
from holdfast.data.sources import EnvironmentRows, Source
from holdfast.errors import UserError
from holdfast.members import build
from holdfast.methods import METHODS, plays
from holdfast.methods.actor_critic import ActorCritic, Critic
from holdfast.methods.group_relative import GroupRelative
from holdfast.methods.grpo import GRPO
from holdfast.methods.on_policy import OnPolicy, Setting
from holdfast.methods.play import Play
from holdfast.models.cost import Cost, cost
from holdfast.models.load import Loaded, load
from holdfast.models.ranks import Ranks
from holdfast.objectives import OBJECTIVES
from holdfast.objectives.base import Objective
from holdfast.objectives.engine import Engine
from holdfast.objectives.passes import asks_base, priced
from holdfast.plan import Plan
from holdfast.plan.prefix_sharing import share_prefixes
from holdfast.recipe import Recipe
from holdfast.run.prefix_sharing import proved
from holdfast.train.method import Method
from holdfast.train.old_policy import OldPolicy
from holdfast.train.sft import SFT


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    Attributes:
        recipe, planned, ranks: Of the run.
        loaded: The model, its masters set.
        compute_dtype: In which it computes.
        said: Hears in words what is worth knowing.
        allow_code: Whether the recipe may name outside code.
    """

    recipe: Recipe
    planned: Plan
    loaded: Loaded
    compute_dtype: torch.dtype
    ranks: Ranks
    said: Callable[[str], None]
    allow_code: bool = False

    @property
    def rows(self) -> Source:
        """What is learned from, or, for a method that plays, the demonstrations beside which it plays."""
        return self.planned.source


def load_for(recipe: Recipe) -> Loaded:
    """Load the model that a recipe starts from."""
    return load(
        recipe.model_name_or_path,
        dtype=recipe.dtype,
        attn_implementation=recipe.attn_implementation,
        revision=recipe.model_revision,
    )


class Maker:
    """Makes the method of a recipe, in two steps: prices are counted on the plain model, before it is spread.

    Args:
        start: See `Start`.
    """

    def __init__(self, start: Start) -> None:
        self.start = start
        recipe, model = start.recipe, start.loaded.model
        self.options = build("method", recipe.method, METHODS, allow_code=start.allow_code)
        self.objective: Objective = build("objective", recipe.objective, OBJECTIVES, allow_code=start.allow_code)
        self.plays = plays(self.options)
        pictured = start.rows.pictured() is not None
        self.share: SharePrefixes = "never" if self.plays else share_prefixes(recipe, model, pictured=pictured)
        self.spent_by = _price(
            model, start.planned.selected.names, self.objective, rows=start.rows, share=self.share
        )  # fmt: skip

    def make(self, model: nn.Module) -> Method:
        """Return the method.

        Args:
            model: The loaded one as it is called in training.
        """
        return self._plays(model) if self.plays else self._sft(model)

    def _sft(self, model: nn.Module) -> SFT:
        start, recipe, objective = self.start, self.start.recipe, self.objective
        share = proved(
            recipe,
            self.share,
            model=start.loaded.model,
            call=model,
            rows=start.rows,
            compute_dtype=start.compute_dtype,
            said=start.said,
        )
        device = next(model.parameters()).device
        batches = Batches(
            start.rows,
            seed=recipe.seed,
            per_device_train_batch_size=recipe.per_device_train_batch_size,
            gradient_accumulation_steps=recipe.gradient_accumulation_steps,
            pad_token_id=start.loaded.tokenizer.pad_token_id,
            process_index=start.ranks.index,
            num_processes=start.ranks.count,
            share_prefixes=share,
        )
        base = self._base().to(device) if asks_base(objective) else None
        engine = Engine(start.loaded.model, objective, normalize=recipe.normalize, forward=model, base=base)
        every, dtype = objective.old_policy_steps, start.compute_dtype
        old = OldPolicy(engine, refresh=every, compute_dtype=dtype, device=device) if every else None
        batches.prepare(start.planned.steps)
        start.said(preview(start.rows.take([0])[0], start.loaded.speaker))
        return SFT(engine, batches, self.spent_by, device, old)

    def _plays(self, model: nn.Module) -> OnPolicy:
        start, recipe, options = self.start, self.start.recipe, self.options
        if model is not start.loaded.model and hasattr(model, "set_reshard_after_forward"):
            raise UserError(f"method {recipe.method}: a sharded model cannot play yet; run it in one process or in DDP")
        rows = start.rows
        assert isinstance(rows, EnvironmentRows)
        device, dtype = next(model.parameters()).device, start.compute_dtype
        per_process = recipe.per_device_train_batch_size * recipe.gradient_accumulation_steps
        episodes = per_process * start.ranks.count * options.steps_a_pass
        base = (
            Engine(self._base().to(device), Objective(), temperature=options.temperature) if options.asks_base else None
        )
        setting = Setting(
            play=Play(
                environment=rows.environment,
                rule=rows.rule,
                split=rows.split,
                seed=rows.seed,
                size=rows.size,
                problems=episodes // options.num_generations,
                episodes=options.num_generations,
                attempts=options.attempts,
                decoding=options.decoding,
                reward=options.reward,
                order_seed=recipe.seed,
            ),
            engine=Engine(start.loaded.model, Objective(), forward=model, temperature=options.temperature),
            base=base,
            speaker=start.loaded.speaker,
            rows_per_batch=recipe.per_device_train_batch_size,
            answer_batch=recipe.per_device_eval_batch_size,
            compute_dtype=dtype,
            pad_token_id=start.loaded.tokenizer.pad_token_id,
            cost=self.spent_by,
            device=device,
            ranks=start.ranks,
        )
        if isinstance(options, GRPO):
            return GroupRelative(setting, options.passes, options.steps_a_pass, options)
        width = int(start.loaded.model.config.get_text_config().hidden_size)
        return ActorCritic(
            setting,
            options.passes,
            options.steps_a_pass,
            options,
            critic=Critic(width, hidden=options.value_hidden, seed=recipe.seed).to(device),
            learning_rate=recipe.learning_rate if options.value_learning_rate is None else options.value_learning_rate,
            max_grad_norm=recipe.max_grad_norm,
        )

    def _base(self) -> nn.Module:
        """Return the untrained model, to be asked beside the one that learns."""
        with self.start.ranks.together():
            base: nn.Module = load_for(self.start.recipe).model
        return base.requires_grad_(False).eval()


def _price(
    model: nn.Module, learning: Collection[str], objective: Objective, *, rows: Source, share: SharePrefixes
) -> Cost:
    """Return what steps on ``rows`` cost when ``learning`` is what learns, the objective's further passes included."""
    example = example_with_pictures(rows)

    def price(names: Collection[str]) -> Cost:
        return cost(model, names, shared=share != "never", example=example)

    return priced(price(learning), objective, forward=lambda: price(()))
