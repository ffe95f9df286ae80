"""The methods of the loop, made of a recipe: what supplies its batches, what it minimizes, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from holdfast.data.batches import Batches, SharePrefixes, example_with_pictures
from holdfast.data.encode import preview
from holdfast.data.replayed import Replayed
from holdfast.data.sources import EnvironmentRows, Source, Twice
from holdfast.errors import UserError
from holdfast.members import build
from holdfast.methods import METHODS, draws, plays, rows_each
from holdfast.methods.actor_critic import ActorCritic, Critic
from holdfast.methods.dpo import DPO
from holdfast.methods.group_relative import GroupRelative
from holdfast.methods.grpo import GRPO
from holdfast.methods.on_policy import OnPolicy, Setting
from holdfast.methods.play import Play
from holdfast.methods.ppo import PPO
from holdfast.methods.preference import Preference
from holdfast.methods.price import added
from holdfast.methods.sampling import Playing
from holdfast.models.cost import Cost
from holdfast.models.counting import cost
from holdfast.models.load import Loaded, load
from holdfast.models.ranks import Ranks
from holdfast.models.sharding import is_sharded
from holdfast.objectives import OBJECTIVES
from holdfast.objectives.base import Objective
from holdfast.objectives.engine import Engine
from holdfast.objectives.passes import asks_base, priced
from holdfast.plan import Plan
from holdfast.plan.prefix_sharing import share_prefixes
from holdfast.probes.scene import Stage
from holdfast.recipe import Recipe
from holdfast.rollout.answerer import TRANSFORMERS, Answerer
from holdfast.run.drawing import Material, drawn_material
from holdfast.run.healing import load_healed
from holdfast.run.prefix_sharing import proved
from holdfast.run.replaying import asks_for_replay, with_replay
from holdfast.train.method import Method
from holdfast.train.old_policy import OldPolicy
from holdfast.train.sft import SFT


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    Attributes:
        recipe, planned, folder, ranks: Of the run.
        loaded: The model, its masters set.
        compute_dtype: In which it computes.
        said: Hears in words what is worth knowing.
        allow_code: Whether the recipe may name outside code.
        answerer: Who answers where the method draws or plays.
    """

    recipe: Recipe
    planned: Plan
    folder: Path
    loaded: Loaded
    compute_dtype: torch.dtype
    ranks: Ranks
    said: Callable[[str], None]
    allow_code: bool = False
    answerer: Answerer = TRANSFORMERS

    @property
    def rows(self) -> Source:
        """Of the data, replayed ones left out; for a method that plays, the demonstrations beside which it plays."""
        source = self.planned.source
        return source.main if isinstance(source, Replayed) else source

    @property
    def replayed(self) -> Source | None:
        """The rows of the data's replay, with the answers that their source gives; None without replay."""
        return self.planned.source.other if isinstance(self.planned.source, Replayed) else None


class Made(NamedTuple):
    """A method, ready for the loop.

    Attributes:
        method: Supplies batches and a loss.
        spent: What was spent before the first step, on drawing answers and asking the base.
        rows: What is learned from.
    """

    method: Method
    spent: dict[str, float]
    rows: Source


def load_for(recipe: Recipe, *, allow_code: bool = False) -> Loaded:
    """Load the model that a recipe starts from, healed where it says so."""
    if recipe.heal is not None:
        return load_healed(recipe, allow_code=allow_code).loaded
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
        rows = start.planned.source
        pictured = rows.pictured() is not None
        self.share: SharePrefixes = "never" if plays(self.options) else share_prefixes(recipe, model, pictured=pictured)
        self.spent_by = _price(model, start.planned.selected.names, self.objective, rows=rows, share=self.share)
        self.forward = _price(model, (), Objective(), rows=rows, share=self.share)

    def make(self, model: nn.Module) -> Made:
        """Return the method. What it learns from is drawn now, if it is drawn, while the weights are still the base's.

        Args:
            model: The loaded one as it is called in training.
        """
        if plays(self.options):
            return Made(self._plays(model, self.options), {}, self.start.rows)
        material = Material(self.start.rows, {})
        if draws(self.options) and isinstance(self.start.rows, EnvironmentRows | Twice):
            self._refuse_sharded(model, "draw answers")
            material = drawn_material(self.start, self.options, cost=self.forward)
        if self.start.replayed is not None:
            if asks_for_replay(self.start.recipe):
                self._refuse_sharded(model, "answer for replay")
            material = with_replay(self.start, material, cost=self.forward)
        if isinstance(self.options, DPO):
            return self._preference(model, self.options, material)
        return Made(self._sft(model, material), material.spent, material.rows)

    def _batches(self, model: nn.Module, rows: Source) -> Batches:
        start, recipe = self.start, self.start.recipe
        share = proved(
            recipe,
            self.share,
            model=start.loaded.model,
            call=model,
            rows=rows,
            compute_dtype=start.compute_dtype,
            said=start.said,
        )
        batches = Batches(
            rows,
            seed=recipe.seed,
            per_device_train_batch_size=recipe.per_device_train_batch_size * rows_each(self.options),
            gradient_accumulation_steps=recipe.gradient_accumulation_steps,
            pad_token_id=start.loaded.tokenizer.pad_token_id,
            process_index=start.ranks.index,
            num_processes=start.ranks.count,
            share_prefixes=share,
        )
        batches.prepare(start.planned.steps)
        start.said(preview(rows.take([0])[0], start.loaded.speaker))
        return batches

    def _sft(self, model: nn.Module, material: Material) -> SFT:
        start, recipe, objective = self.start, self.start.recipe, self.objective
        device = next(model.parameters()).device
        batches = self._batches(model, material.rows)
        base = self._base().to(device) if asks_base(objective) else None
        engine = Engine(start.loaded.model, objective, normalize=recipe.normalize, forward=model, base=base)
        every, dtype = objective.old_policy_steps, start.compute_dtype
        old = OldPolicy(engine, refresh=every, compute_dtype=dtype, device=device) if every else None
        return SFT(engine, batches, self.spent_by, device, old, material.row_weights)

    def _preference(self, model: nn.Module, options: DPO, material: Material) -> Made:
        start = self.start
        method = Preference(
            options,
            engine=Engine(start.loaded.model, Objective(), forward=model),
            batches=self._batches(model, material.rows),
            cost=self.spent_by,
            device=next(model.parameters()).device,
            ranks=start.ranks,
        )
        asked = method.ask_base(steps=start.planned.steps, forward=self.forward, compute_dtype=start.compute_dtype)
        return Made(method, added(material.spent, asked), material.rows)

    def _plays(self, model: nn.Module, options: Playing) -> OnPolicy:
        start, recipe = self.start, self.start.recipe
        self._refuse_sharded(model, "play")
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
                answerer=start.answerer,
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
        assert isinstance(options, PPO)
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

    def _refuse_sharded(self, model: nn.Module, what: str) -> None:
        if is_sharded(model):
            spec = self.start.recipe.method
            name = spec if isinstance(spec, str) else spec["name"]
            raise UserError(f"method {name}: a sharded model cannot {what} yet; run it in one process or in DDP")

    def stage(self, base_weight: Callable[[str], Tensor] | None) -> Stage:
        """Return what probes may ask about.

        Args:
            base_weight: From a name of ``planned.changing`` to the untrained tensor, where this rank keeps them.
        """
        start = self.start
        device = next(start.loaded.model.parameters()).device
        return Stage(
            recipe=start.recipe,
            source=start.rows,
            speaker=start.loaded.speaker,
            compute_dtype=start.compute_dtype,
            forward=self.forward,
            training=self.spent_by,
            changing=start.planned.changing,
            load_base=lambda: self._base().to(device),
            base_weight=base_weight,
            ranks=start.ranks,
            allow_code=start.allow_code,
        )

    def _base(self) -> nn.Module:
        """Return the untrained model, to be asked beside the one that learns."""
        with self.start.ranks.together():
            base: nn.Module = load_for(self.start.recipe, allow_code=self.start.allow_code).model
        return base.requires_grad_(False).eval()


def _price(
    model: nn.Module, learning: Collection[str], objective: Objective, *, rows: Source, share: SharePrefixes
) -> Cost:
    """Return what steps on ``rows`` cost when ``learning`` is what learns, the objective's further passes included."""
    example = example_with_pictures(rows)

    def price(names: Collection[str]) -> Cost:
        return cost(model, names, shared=share != "never", example=example)

    return priced(price(learning), objective, forward=lambda: price(()))
