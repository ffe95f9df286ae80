"""What plans have in common: a model's structure, a task's rows, a selection's price and steps, each made once.

A study plans dozens of runs that differ in a rate or in what learns. Planning them on one `Common` reads each model's
structure, each task's rows and each selection's FLOPs a single time, and steps that only rates tell apart too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from holdfast.plan.prefix_sharing import share_prefixes
from holdfast.recipe import Recipe
from holdfast.selection import Selected, parse, select

if TYPE_CHECKING:
    from holdfast.data.batches import Batches, SharePrefixes
    from holdfast.data.sources import Source
    from holdfast.methods.price import PlayPrice
    from holdfast.models.cost import Cost
    from holdfast.models.roles import ParameterRole
    from holdfast.models.skeleton import Skeleton
    from holdfast.plan.beforehand import Beforehand
    from holdfast.plan.steps import Survey

T = TypeVar("T")


class Learning(NamedTuple):
    """What learns in a run, and where.

    Attributes:
        model: The structure that is trained: the plain model's, or with its adapters.
        selected: Of it.
        changing: Names in the plain model of the tensors that training changes: those that learn, or are adapted.
    """

    model: Any
    selected: Selected
    changing: tuple[str, ...]


@dataclass
class Common:
    """Parts of plans, made when first asked for.

    Args:
        allow_code: Whether recipes may name outside code.
    """

    allow_code: bool = False
    _made: dict[str, Any] = field(default_factory=dict, repr=False)

    def skeleton(self, recipe: Recipe) -> Skeleton:
        """Return the structure of a recipe's model; see `holdfast.models.skeleton.skeleton`."""
        from holdfast.models.skeleton import skeleton

        return self._once(
            ["skeleton", *_model(recipe)],
            lambda: skeleton(
                recipe.model_name_or_path,
                revision=recipe.model_revision,
                attn_implementation=recipe.attn_implementation,
            ),
        )

    def parameters(self, recipe: Recipe) -> tuple[ParameterRole, ...]:
        """Return the roles of the model's parameters."""
        from holdfast.models.structure import roles

        return self._once(["roles", *_model(recipe)], lambda: roles(self.skeleton(recipe).model))

    def learning(self, recipe: Recipe) -> Learning:
        """Return what of a recipe's model learns.

        Raises:
            SelectionError: the selection matches nothing, or with ``lora`` no linear layer.
        """
        bones, parameters = self.skeleton(recipe).model, self.parameters(recipe)
        selected = select(parameters, parse(recipe.trainable), text_only=self.text_only(recipe))
        if recipe.lora is None:
            return Learning(bones, selected, selected.names)
        from holdfast.plan.adapted import adapted_learning

        return self._once(
            ["learning", *_trained(recipe), self.text_only(recipe)],
            lambda: adapted_learning(recipe, bones, parameters, selected=selected),
        )

    def price(self, recipe: Recipe, names: Sequence[str]) -> Cost | PlayPrice:
        """Return what the model costs when ``names`` learn, with pictures as the recipe's first row has them."""
        from holdfast.data.batches import example_with_pictures
        from holdfast.members import build
        from holdfast.methods import METHODS, plays
        from holdfast.methods.price import PlayPrice
        from holdfast.models.counting import cost
        from holdfast.objectives import OBJECTIVES
        from holdfast.objectives.passes import priced

        source = self.source(recipe)
        rows = [] if self.text_only(recipe) else self._rows_of(recipe)
        shares = self.share_prefixes(recipe) != "never"
        method = build("method", recipe.method, METHODS, allow_code=self.allow_code)

        def price(learning: Sequence[str]) -> Cost:
            return self._once(
                ["price", shares, *_trained(recipe), *learning, *rows],
                lambda: cost(
                    self.learning(recipe).model, learning, shared=shares, example=example_with_pictures(source)
                ),
            )

        objective = build("objective", recipe.objective, OBJECTIVES, allow_code=self.allow_code)
        own = priced(price(names), objective, forward=lambda: price(()))
        if not plays(method):
            return own
        return PlayPrice(own, scorings=method.scores_first + method.asks_base, passes=method.passes)

    def share_prefixes(self, recipe: Recipe) -> SharePrefixes:
        """Return whether rows share prefixes; see `holdfast.plan.prefix_sharing.share_prefixes`.

        Rows that the model itself writes do not.
        """
        from holdfast.members import build
        from holdfast.methods import METHODS, plays

        if plays(build("method", recipe.method, METHODS, allow_code=self.allow_code)):
            return "never"
        pictured = not self.text_only(recipe)
        asked = [recipe.share_prefixes, recipe.gradient_checkpointing, recipe.max_length, pictured]
        return self._once(
            ["share", *asked, *_trained(recipe)],
            lambda: share_prefixes(recipe, self.learning(recipe).model, pictured=pictured),
        )

    def text_only(self, recipe: Recipe) -> bool:
        """Return whether what a recipe learns from has no pictures, so that towers and their like do not run."""
        return self.source(recipe).pictured() is None

    def source(self, recipe: Recipe) -> Source:
        """Return the rows that a recipe learns from; one that is longer than the model's positions is refused.

        In the place of answers that are drawn later, for replay too, stand demonstrations, twice each where answers
        are compared.
        """
        from holdfast.data.pairs import pair_rows
        from holdfast.data.sources import Twice

        if recipe.data.replay is not None:
            return self._once(["mixed", *_model(recipe), *self._rows_of(recipe)], lambda: self._mixed(recipe))
        if self._rows_each(recipe) == 1:
            return self._single_rows(recipe)
        if recipe.data.path is None:
            return Twice(self._single_rows(recipe))
        return self._once(
            ["pairs", *_model(recipe), *self._rows_of(recipe)],
            lambda: pair_rows(
                str(recipe.data.path), self.skeleton(recipe).speaker, max_length=self._max_length(recipe)
            ),
        )

    def _mixed(self, recipe: Recipe) -> Source:
        from holdfast.data.replayed import Replayed, replay_rows
        from holdfast.evaluate.suite import rules_in_play

        assert recipe.data.replay is not None
        other = replay_rows(
            recipe.data,
            rules=rules_in_play(recipe, recipe.data.replay.environment),
            tokenizer=self.skeleton(recipe).speaker,
            max_length=self._max_length(recipe),
            allow_code=self.allow_code,
        )
        return Replayed(self._single_rows(recipe), other, share=recipe.data.replay.share)

    def _max_length(self, recipe: Recipe) -> int | None:
        from holdfast.rollout.generate import positions

        limits = [limit for limit in (recipe.max_length, positions(self.skeleton(recipe).model)) if limit is not None]
        return min(limits, default=None)

    def _single_rows(self, recipe: Recipe) -> Source:
        from holdfast.data.sources import source_of
        from holdfast.evaluate.suite import rules_in_play

        rules = rules_in_play(recipe)
        return self._once(
            ["source", *_model(recipe), *self._rows_of(recipe)],
            lambda: source_of(
                recipe.data,
                rules=rules,
                tokenizer=self.skeleton(recipe).speaker,
                max_length=self._max_length(recipe),
                allow_code=self.allow_code,
            ),
        )

    def rows_per_step(self, recipe: Recipe, *, num_processes: int) -> int:
        """Return the rows of a step over all processes."""
        examples = recipe.per_device_train_batch_size * recipe.gradient_accumulation_steps * num_processes
        return examples * self._rows_each(recipe)

    def _rows_each(self, recipe: Recipe) -> int:
        from holdfast.members import build
        from holdfast.methods import METHODS, rows_each

        return rows_each(build("method", recipe.method, METHODS, allow_code=self.allow_code))

    def beforehand(self, recipe: Recipe, steps: int, *, num_processes: int) -> Beforehand:
        """Return what is drawn and asked before the first of ``steps`` steps; see `holdfast.plan.beforehand`."""
        from holdfast.plan.beforehand import beforehand

        return beforehand(self, recipe, steps, num_processes=num_processes)

    def probe_costs(self, recipe: Recipe) -> dict[str, float]:
        """Return the FLOPs of each probe of a recipe at a moment; see `holdfast.plan.probing.probe_costs`."""
        from holdfast.plan.probing import probe_costs

        asked = [recipe.probes_asked, recipe.suites, recipe.per_device_eval_batch_size, *_trained(recipe)]
        key = ["probes", *map(str, asked), *self._rows_of(recipe)]
        return self._once(key, lambda: probe_costs(self, recipe)) if recipe.probes_asked else {}

    def survey(self, recipe: Recipe, steps: int, *, names: Sequence[str], num_processes: int) -> Survey:
        """Return what ``steps`` steps of a recipe spend when ``names`` learn."""
        from holdfast.data.batches import Batches
        from holdfast.plan.penalized import penalized, penalty_flops
        from holdfast.plan.steps import survey

        def batches(process: int) -> Batches:
            return Batches(
                self.source(recipe),
                seed=recipe.seed,
                per_device_train_batch_size=recipe.per_device_train_batch_size * self._rows_each(recipe),
                gradient_accumulation_steps=recipe.gradient_accumulation_steps,
                pad_token_id=self.skeleton(recipe).tokenizer.pad_token_id or 0,
                process_index=process,
                num_processes=num_processes,
                share_prefixes=self.share_prefixes(recipe),
            )

        adapted = recipe.lora is not None and bool(names)
        changing = self.learning(recipe).changing if adapted else names
        beside = penalty_flops(recipe, penalized(recipe, self.parameters(recipe), changing)) * num_processes
        shape = [recipe.seed, recipe.per_device_train_batch_size, recipe.gradient_accumulation_steps, num_processes]
        return self._once(
            [
                "survey",
                self.share_prefixes(recipe),
                *_trained(recipe),
                *self._rows_of(recipe),
                *shape,
                recipe.objective,
                recipe.method,
                beside,
                steps,
                *names,
            ],
            lambda: survey(
                [batches(process) for process in range(num_processes)],
                steps,
                price=self.price(recipe, names),
                beside=beside,
            ),
        )

    def _rows_of(self, recipe: Recipe) -> list[Any]:
        from holdfast.evaluate.suite import rules_in_play

        replay = recipe.data.replay
        of_replay = [] if replay is None else [rules_in_play(recipe, replay.environment)]
        return [recipe.data.model_dump(mode="json"), rules_in_play(recipe), recipe.max_length, *of_replay]

    def _once(self, key: Sequence[Any], make: Callable[[], T]) -> T:
        words = json.dumps(key)
        if words not in self._made:
            self._made[words] = make()
        made: T = self._made[words]
        return made


def _model(recipe: Recipe) -> list[str | None]:
    return [recipe.model_name_or_path, recipe.model_revision, recipe.attn_implementation]


def _trained(recipe: Recipe) -> list[Any]:
    """The model as it is called in training: adapters make another one of it."""
    adapters = [] if recipe.lora is None else [recipe.trainable, recipe.lora.model_dump(mode="json")]
    return [*_model(recipe), *adapters]
