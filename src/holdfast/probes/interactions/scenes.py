"""Games of a run, made once, and one moment of them: where the probes meet the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from holdfast.data.pictures import tokenizer_of
from holdfast.errors import DataError, UserError
from holdfast.models.load import load
from holdfast.models.shareable import why_not
from holdfast.probes.interactions.asking import PROMPT, Asking
from holdfast.probes.interactions.game import MOST_TARGET_TOKENS, Game, Question, bind
from holdfast.probes.interactions.learned_blank import EPOCHS, learned_blank
from holdfast.probes.interactions.masking import Blank, blank_of
from holdfast.probes.interactions.measure import Measured, measure, tokens_at_most
from holdfast.probes.interactions.moment import Moment, with_noise_again
from holdfast.probes.interactions.price import game_flops, noise_flops, outputs_flops
from holdfast.probes.interactions.questions import Drawn, Refusal, ask, draw
from holdfast.probes.interactions.salience import Signs
from holdfast.probes.rows import Rows
from holdfast.probes.scene import Scene
from holdfast.records import Example

LOOKED_AT = 2
"""Rows that are looked at for each prompt that is wanted …"""
AT_LEAST = 16
"""… and at least this many, so that a format can be told from its answers."""
FEWEST = 2
"""Prompts without which there is no mean over them."""


class Games(NamedTuple):
    """What a run asks, the same at every moment.

    Attributes:
        questions: Prompts with their players and targets.
        sureness: The base's probability of each target.
        refused: Rows that could not be asked.
        templates: The games of each template.
        blank: What stands in the place of masked words.
    """

    questions: tuple[Question, ...]
    sureness: tuple[float, ...]
    refused: tuple[Refusal, ...]
    templates: tuple[tuple[Game, ...], ...]
    blank: Blank

    def to_json(self) -> dict[str, Any]:
        """Return who played and what was watched, for logs."""
        games = [
            {**game.to_json(), "base_probability": round(sure, 6)}
            for game, sure in zip(self.templates[0], self.sureness, strict=True)
        ]
        return {"games": games, "refused": [one.why for one in self.refused], "blank": self.blank.words}


def games_of(asking: Asking, scene: Scene) -> Games:
    """Return the games of a run; made when first asked for, with the base's help.

    Raises:
        DataError: no row can be asked.
        UserError: the rows are tokens alone.
    """
    return scene.stage.once(("interactions", asking), lambda: _games(asking, scene))


def measured_in(asking: Asking, scene: Scene) -> Measured:
    """Return the interactions of the model of a moment, in the first template."""
    games = games_of(asking, scene)
    return _measured(scene, games, 0, repeats=asking.repeats)


def moment_of(asking: Asking, scene: Scene, references: Sequence[str], first: Moment | None) -> Moment:
    """Return the moment of a run.

    Args:
        asking: What is asked.
        scene: The model at the moment.
        references: Names or folders of other models.
        first: The first moment of the run, whose references hold for all; None if this is it.
    """
    games = games_of(asking, scene)
    measured = _measured(scene, games, 0, repeats=asking.repeats)
    further = range(1, len(games.templates))
    templates = tuple(_measured(scene, games, number, repeats=1).salient() for number in further)
    again = with_noise_again(measured, seed=scene.step) if asking.repeats > 1 else None
    others = first.references if first is not None else tuple(_other(name, asking, games, scene) for name in references)
    return Moment(measured, templates, others, again, scene.step)


def cost(asking: Asking, scene: Scene, references: int = 0) -> float:
    """Return the FLOPs of a moment at most; of other models as if they were as large as this one.

    Before the base was asked, a target is taken for the last word that may be one.

    Raises:
        DataError: hardly any row has enough words.
    """
    shared, forward = why_not(scene.model, training=False) is None, scene.stage.forward
    made: Games | None = scene.stage.kept.get(("interactions", asking))
    first = not scene.past
    if made is not None:
        of_template = [
            sum(game_flops(game, forward, shared=shared, repeats=asking.repeats if number == 0 else 1) for game in own)
            for number, own in enumerate(made.templates)
        ]
        return sum(of_template) + (references * of_template[0] if first else 0)
    total = float(sum(_pass_flops(one, scene) for one in _drawn(asking, scene))) + _learning_flops(asking, scene)
    for number, template in enumerate(asking.templates):
        repeats = asking.repeats if number == 0 else 1
        prices = sorted((_bound(one, template, scene, shared, repeats) for one in _drawn(asking, scene)), reverse=True)
        total += (1 + references * (first and not number)) * sum(prices[: asking.prompts])
    return total


def _games(asking: Asking, scene: Scene) -> Games:
    base, speaker = scene.base, scene.stage.speaker
    questions: list[Question] = []
    sureness: list[float] = []
    refused: list[Refusal] = []
    for examples, count in zip(_examples(asking, scene), asking.halves, strict=True):
        if not examples or not count:
            continue
        try:
            asked = ask(examples, base, speaker, players=asking.players, watched=asking.watched, count=count)
        except DataError as fault:
            refused.append(Refusal("", str(fault)))
            continue
        questions += asked.questions
        sureness += asked.sureness
        refused += asked.refused
    if len(questions) < FEWEST:
        raise DataError(_too_few(len(questions), refused))
    scene.spend(float(sum(_pass_flops(one, scene) for one in _drawn(asking, scene))) + _learning_flops(asking, scene))
    templates = tuple(
        tuple(bind(question, speaker, template=template) for question in questions) for template in asking.templates
    )
    start = blank_of("token" if asking.masking == "learned" else asking.masking, base, speaker)
    blank = learned_blank(base, templates[0], start) if asking.masking == "learned" else start
    return Games(tuple(questions), tuple(sureness), tuple(refused), templates, blank)


def _examples(asking: Asking, scene: Scene) -> tuple[list[Example], list[Example]]:
    """Return rows of training and held-out ones, each named by where it is from and its number."""
    looked = [max(LOOKED_AT * half, AT_LEAST) for half in asking.halves]
    rows: tuple[Rows, Rows] = (
        scene.training(looked[0]),
        scene.held_out(looked[1], path=asking.path, suite=asking.suite),
    )
    if not any(own.examples for own in rows):
        raise UserError("interactions are asked of prompts in words, and the rows of this run are tokens alone")
    named = [
        [replace(example, source=f"{where} {number}") for number, example in enumerate(own.examples)]
        for where, own in zip(("training", "held out"), rows, strict=True)
    ]
    return named[0], named[1]


def _drawn(asking: Asking, scene: Scene) -> list[Drawn]:
    def make() -> list[Drawn]:
        halves = [
            draw(examples, scene.stage.speaker, players=asking.players, watched=asking.watched)
            for examples in _examples(asking, scene)
        ]
        found = [*halves[0][0], *halves[1][0]]
        if len(found) < FEWEST:
            raise DataError(_too_few(len(found), [*halves[0][1], *halves[1][1]]))
        return found

    return scene.stage.once(("interactions drawn", asking), make)


def _too_few(count: int, refused: Sequence[Refusal]) -> str:
    why = f"; {refused[0].why}" if refused else ""
    return f"interactions: {count} rows can be asked, and it takes {FEWEST}{why}. Try fewer players, or watched: any"


def _measured(scene: Scene, games: Games, number: int, *, repeats: int) -> Measured:
    """Measure one template, and pay for it."""
    own, forward = games.templates[number], scene.stage.forward
    found = measure(scene.model, own, games.blank, repeats=repeats)
    shared = found.tokens == tokens_at_most(own, repeats=repeats, shared=True)
    scene.spend(sum(game_flops(game, forward, shared=shared, repeats=repeats) for game in own))
    return found


def _other(name: str, asking: Asking, games: Games, scene: Scene) -> Signs:
    """Return what counts in another model, masked by its own blank, with its own tokenizer where that is another."""
    loaded = load(name)
    kin = tokenizer_of(loaded.speaker).get_vocab() == tokenizer_of(scene.stage.speaker).get_vocab()
    blank = blank_of("token" if asking.masking == "learned" else asking.masking, loaded.model, loaded.speaker)
    bound = (
        games.templates[0]
        if kin
        else tuple(bind(question, loaded.speaker, target_tokens=MOST_TARGET_TOKENS) for question in games.questions)
    )
    scene.spend(sum(game_flops(game, scene.stage.forward, shared=True) for game in bound))
    return measure(loaded.model.to(scene.device), bound, blank, repeats=1).salient()


def _bound(one: Drawn, template: str, scene: Scene, shared: bool, repeats: int) -> float:
    """Return the FLOPs at most of a game whose target is not chosen yet; a template has no more tokens than letters."""
    forward, tokens = scene.stage.forward, one.longest + len(template) - len(PROMPT)
    own = outputs_flops(one.spans, tokens, forward, shared=shared)
    return own + noise_flops(len(one.spans), tokens, forward, repeats=repeats)


def _pass_flops(one: Drawn, scene: Scene) -> int:
    return scene.stage.forward.forward_flops((1, len(one.placed.ids)), len(one.candidates))


def _learning_flops(asking: Asking, scene: Scene) -> float:
    """Return the FLOPs of learning a blank: four rows a prompt and epoch, forward and twice that backward."""
    if asking.masking != "learned":
        return 0.0
    prices = sorted((_pass_flops(one, scene) for one in _drawn(asking, scene)), reverse=True)
    return float(12 * EPOCHS * sum(prices[: asking.prompts]))
