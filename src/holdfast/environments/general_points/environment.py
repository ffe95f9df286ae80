"""The points game: make 24 from a hand of cards, under rules that say what the faces count as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from holdfast.environments.base import SPLITS, Revision
from holdfast.environments.general_points.answer_formats import find_answer_format
from holdfast.environments.general_points.cards import BLACK_SUITS, CARD_TEXTS, RED_SUITS, Card, Hand, rank_text
from holdfast.environments.general_points.legacy import verify_legacy
from holdfast.environments.general_points.pictures import CardPicture
from holdfast.environments.general_points.prompts import (
    PICTURE_STYLES,
    PROMPT_STYLES,
    check_picture_style,
    check_prompt_style,
    check_template,
    prompt_text,
    read_template,
    style_of,
    template_path,
    template_text,
)
from holdfast.environments.general_points.recognition import recognized, recognized_as_published
from holdfast.environments.general_points.rules import find_rule
from holdfast.environments.general_points.solver import Values, solvable, solve
from holdfast.environments.general_points.splits import Game, pool, stream, values_of_split
from holdfast.environments.general_points.verifier import MAX_REPLY, Question, verify_strict
from holdfast.errors import UnknownName, UnverifiableDemonstration, UserError
from holdfast.records import Message, Problem, Verdict

MODES = ("strict", "strict_format", "legacy")
CARDS_AS = ("text", "picture")
SUITS = {"mixed": None, "red": RED_SUITS, "black": BLACK_SUITS}
MAX_CARDS = 6
MAX_CARDS_WITH_SUITS = 4  # 26 kinds of card make 23,751 hands of four, and 142,506 of five


@dataclass(frozen=True)
class GeneralPoints:
    """The points game of Chu et al. (2025), with leak-free splits, many rules and an exact judge.

    Attributes:
        rules: The rules in play; splits are disjoint under all of them at once. The first is the training rule.
            Any name of the grammar in ``rules.py``.
        target: What the formula has to make, where a rule does not say otherwise.
        n_cards: Cards in a hand, 3 to 6; at most 4 if a rule reads suits.
        prompt_style: ``paper``, ``terse``, ``paraphrase`` (one of a pool, by problem) or ``paraphrase_<k>``.
        template: A file of the user's with the fields ``{target}``, ``{cards}`` and ``{rule}``, which replaces the
            style; any other text of it is kept byte for byte. ``{rule}`` in the path stands for the rule's name, for
            one file a rule.
        card_text: Wording of the cards: ``ranks``, ``suit_words`` or ``long``.
        answer_format: A name of ``ANSWER_FORMATS``.
        mode: ``strict`` judges exactly and accepts a formula in any format; ``strict_format`` refuses a reply that
            does not keep to ``answer_format``; ``legacy`` reproduces the published judge (four cards, format
            ``json``, no negative values).
        paired_with: Other rules in play. Only hands are dealt that are solvable under these too and hold a face card,
            and the same hand in the same order whichever of the rules is asked.
        min_faces: Least number of face cards in a hand.
        cards_as: ``text`` names the cards in the prompt; ``picture`` shows them in an image before it, for models that
            see. Then verdicts hold the fact ``cards_ok``: whether the reply names the cards shown, where its format
            lists them. ``legacy`` refuses a reply with other cards, as published; ``strict`` does not, because the
            formula shows already which numbers were read.
        resolution: Width and height of the image in pixels, 64 to 4096.
        suits: ``mixed``, ``red`` or ``black``: what is dealt where no rule in play reads suits. Published: pictures
            are trained on black cards, and red ones are out of distribution. Ranks do not depend on it.

    Raises:
        UnknownName, UserError: an option has an unknown or impossible value.
    """

    name: ClassVar[str] = "general_points"
    multi_step: ClassVar[bool] = False
    rules: tuple[str, ...] = ("faces_as_10", "faces_as_11_12_13")
    target: int = 24
    n_cards: int = 4
    prompt_style: str = "paper"
    template: str | None = None
    card_text: str = "ranks"
    answer_format: str = "json"
    mode: str = "strict"
    paired_with: tuple[str, ...] = ()
    min_faces: int = 0
    cards_as: str = "text"
    resolution: int = 1200
    suits: str = "mixed"

    def __post_init__(self) -> None:
        # A recipe brings lists; a frozen value must be hashable.
        object.__setattr__(self, "rules", _names("rules", self.rules))
        object.__setattr__(self, "paired_with", _names("paired_with", self.paired_with))
        self._check_rules()
        _check_whole("target", self.target, -9999, 9999)
        _check_whole("n_cards", self.n_cards, 3, MAX_CARDS)
        _check_whole("min_faces", self.min_faces, 0, self.n_cards)
        if self._show_color and self.n_cards > MAX_CARDS_WITH_SUITS:
            raise UserError(
                f"n_cards is {self.n_cards}, but a rule that reads suits takes at most {MAX_CARDS_WITH_SUITS} cards"
            )
        self._check_wording()
        if self.mode not in MODES:
            raise UnknownName("mode", self.mode, MODES)
        find_answer_format(self.answer_format)
        if self.mode == "legacy":
            self._check_legacy()

    def _check_wording(self) -> None:
        if self.cards_as not in CARDS_AS:
            raise UnknownName("way to give the cards (cards_as)", self.cards_as, CARDS_AS)
        if self.suits not in SUITS:
            raise UnknownName("suits", self.suits, SUITS)
        if self.suits != "mixed" and self._show_color:
            raise UserError(f"suits is {self.suits!r}, but a rule in play reads suits; write suits: mixed")
        _check_whole("resolution", self.resolution, 64, 4096)
        (check_picture_style if self._pictured else check_prompt_style)(self.prompt_style)
        if self.card_text not in CARD_TEXTS:
            raise UnknownName("card text", self.card_text, CARD_TEXTS)
        if self._pictured and self.card_text != "ranks":
            raise UserError(f"card_text is {self.card_text!r}, but the cards are shown in a picture; leave it out")
        if self.template is not None:
            for rule in self.rules:
                check_template(template_path(self.template, rule), names_cards=not self._pictured)

    def _check_legacy(self) -> None:
        negative = [name for name in self.rules if min(find_rule(name).red_factor, find_rule(name).black_factor) < 0]
        if self.n_cards != 4 or self.answer_format != "json" or negative:
            raise UserError(
                f"mode 'legacy' takes n_cards 4 (found {self.n_cards}), answer_format 'json' (found "
                f"{self.answer_format!r}) and no negative values (found {', '.join(negative) or 'none'}); "
                "it is the published judge. Use mode 'strict'"
            )

    def _check_rules(self) -> None:
        if not self.rules:
            raise UserError("rules is empty; name at least the training rule")
        for rule in (*self.rules, *self.paired_with):
            find_rule(rule)
        for rule in self.paired_with:
            self._check_in_play(rule)

    def _check_in_play(self, rule: str) -> None:
        if rule not in self.rules:
            find_rule(rule)
            raise UserError(
                f"rule {rule!r} is not in play (rules: {', '.join(self.rules)}); add it to the environment's rules, "
                "so that the splits stay disjoint under it"
            )

    @property
    def _pictured(self) -> bool:
        return self.cards_as == "picture"

    @property
    def _show_color(self) -> bool:
        return any(find_rule(rule).reads_suits for rule in self.rules)

    @property
    def game(self) -> Game:
        """What the splits depend on."""
        return Game.of(self.rules, self.target, self.n_cards)

    def sample(self, rule: str, split: str, index: int, *, seed: int) -> Problem:
        """Return problem number ``index`` of a split: a pure function of its arguments and the environment's fields.

        Raises:
            UserError: ``rule`` is not in play, or no hand answers to the options.
            UnknownName: no such split.
        """
        self._check_in_play(rule)
        if split not in SPLITS:
            raise UnknownName("split", split, SPLITS)
        asked = tuple(sorted({rule, *self.paired_with}))
        min_faces = max(self.min_faces, 1) if self.paired_with else self.min_faces
        rng = stream(self.name, seed, asked, split, index)
        hand = pool(self.game, asked, split, min_faces).draw(rng, suits=SUITS[self.suits])
        return self.pose(rule, hand, split=split, index=index, seed=seed)

    def pose(self, rule: str, hand: Sequence[tuple[int, int]], *, split: str, index: int = 0, seed: int = 0) -> Problem:
        """Return the problem that asks ``hand`` under ``rule``; neither needs to be in play.

        Args:
            rule: Any rule name.
            hand: (rank 1 to 13, suit 0 to 3) of each card, in dealt order.
            split, index, seed: Labels of the problem.
        """
        cards = tuple(Card(rank, suit) for rank, suit in hand)
        found = find_rule(rule)
        values = tuple(found.value(card) for card in cards)
        facts = {
            "hand": [list(card) for card in cards],
            "values": list(values),
            "target": self.target_of(rule),
            "pair": " ".join(str(rank) for rank in sorted(card.rank for card in cards)),
        }
        return Problem(self.name, rule, split, index, seed, " ".join(map(str, sorted(values))), facts)

    def target_of(self, rule: str) -> int:
        """Return what a formula has to make under ``rule``."""
        return self.game.target_of(rule)

    def prompt(self, problem: Problem) -> tuple[Message, ...]:
        """Return the one user message that asks ``problem``, with the picture of its cards if they are shown in one."""
        rule, hand, target = find_rule(problem.rule), _hand(problem), problem.facts["target"]
        show_color = self._show_color or rule.reads_suits
        if self.template is not None:
            text = read_template(template_path(self.template, problem.rule))
            content = template_text(text, rule, hand, target=target, card_text=self.card_text, show_color=show_color)
        else:
            styles = PICTURE_STYLES if self._pictured else PROMPT_STYLES
            content = prompt_text(
                styles[style_of(problem, self.prompt_style)],
                rule,
                hand,
                target=target,
                card_text=self.card_text,
                show_color=show_color,
                answer_format=find_answer_format(self.answer_format),
            )
        if self._pictured:
            return (Message(role="user", content=content, images=(CardPicture(hand, self.resolution),)),)
        return (Message(role="user", content=content),)

    def demonstrate(self, problem: Problem) -> str:
        """Return *the* solution of the problem's value multiset, written in the answer format.

        Raises:
            UnverifiableDemonstration: the hand has no solution, which ``sample`` never deals.
        """
        values, target = _values(problem), problem.facts["target"]
        tree = solve(values, target)
        if tree is None:
            raise UnverifiableDemonstration(f"{problem.key} cannot make {target} under {problem.rule}")
        return find_answer_format(self.answer_format).write(_hand(problem), values, tree, target)

    def verify(self, problem: Problem, reply: str) -> Verdict:
        """Judge ``reply``. Never raises for any text, and takes bounded time."""
        question = self._question(problem)
        verdict = verify_legacy(question, reply) if self.mode == "legacy" else verify_strict(question, reply)
        if question.shown is None:
            return verdict
        judge = recognized_as_published if self.mode == "legacy" else recognized
        cards_ok = judge(reply[:MAX_REPLY], question.shown) if question.answer_format.states_cards else None
        return replace(verdict, facts={**verdict.facts, "cards_ok": cards_ok})

    def steps(self, problem: Problem) -> tuple[Problem, ...]:
        """A hand is one question."""
        return (problem,)

    def begin(self, problem: Problem, *, attempts: int = 1) -> Revision:
        """Sequential revision: a failed reply is answered by the verdict's message."""
        return Revision.start(self, problem, attempts=attempts)

    def solvable(self, problem: Problem) -> bool:
        """Return whether the problem has a solution (``pose`` may make one that has none)."""
        return solvable(_values(problem), problem.facts["target"])

    def _question(self, problem: Problem) -> Question:
        values, target = _values(problem), problem.facts["target"]
        training = find_rule(self.rules[0])
        training_target = self.target_of(self.rules[0])
        training_values = tuple(training.value(card) for card in _hand(problem))
        same = problem.rule == self.rules[0] or (
            sorted(training_values) == sorted(values) and training_target == target
        )
        return Question(
            values,
            target,
            find_answer_format(self.answer_format),
            self.mode == "strict_format",
            None if same else training_values,
            training_target,
            self._seen(values, target),
            tuple(rank_text(card) for card in _hand(problem)) if self._pictured else None,
            self._trained_on,
        )

    def _seen(self, values: Values, target: int) -> bool | None:
        if target != self.target_of(self.rules[0]):
            return False
        return None if self._trained_on is None else tuple(sorted(values)) in self._trained_on

    @property
    def _trained_on(self) -> frozenset[Values] | None:
        try:
            return values_of_split(self.game, self.rules[0], "train")
        except UserError:
            return None  # rules that leave no fair split: `sample` says so, but a posed problem can still be judged


def _hand(problem: Problem) -> Hand:
    return tuple(Card(rank, suit) for rank, suit in problem.facts["hand"])


def _values(problem: Problem) -> Values:
    return tuple(problem.facts["values"])


def _names(option: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(name, str) for name in value):
        raise UserError(f"{option} must be a list of rule names, not {value!r}")
    return tuple(value)


def _check_whole(option: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UserError(f"{option} must be a whole number from {low} to {high}, not {value!r}")
