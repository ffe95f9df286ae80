"""Navigation: follow the instruction of a route through a city, under rules that say how a turn is named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import ClassVar

from holdfast.environments.base import SPLITS, Episode, Revision
from holdfast.environments.navigation.answer_formats import Answer, find_answer_format
from holdfast.environments.navigation.city import deal
from holdfast.environments.navigation.episode import RouteEpisode
from holdfast.environments.navigation.instructions import (
    INSTRUCTIONS,
    instruction_text,
    observation,
    sentences,
    short_observation,
    turn_of,
)
from holdfast.environments.navigation.legacy import ungraded, verify_legacy
from holdfast.environments.navigation.prompts import (
    PROMPT_STYLES,
    Done,
    check_prompt_style,
    prompt_text,
    read_template,
    reads_short,
    style_of,
    template_path,
    template_text,
)
from holdfast.environments.navigation.rail import Kind, Point
from holdfast.environments.navigation.route import Route, to_json
from holdfast.environments.navigation.rules import FORWARD, STOP, Rule, find_rule
from holdfast.environments.navigation.verifier import Question, verify_strict
from holdfast.environments.navigation.walk import Walk, sentence_number, walk_of
from holdfast.errors import UnknownName, UserError
from holdfast.records import Message, Problem, Verdict

MODES = ("strict", "strict_format", "legacy")


@dataclass(frozen=True)
class Navigation:
    """The navigation game of Chu et al. (2025) in text, in made cities or on real routes, with many rules.

    A problem is a route; its steps are the points at which an action is asked. A route as such is asked, demonstrated
    and judged like its first point.

    Attributes:
        rules: The rules in play; the first is the training rule. Any name of the grammar in ``rules.py``. A route is
            the same whichever rule it is asked by.
        instruction: What a turn is told by: ``both`` (published), ``absolute``, ``relative`` or ``landmark``.
        prompt_style: ``paper``, ``terse``, ``paraphrase`` (one of a pool, by route) or ``paraphrase_<k>``.
        template: A file of the user's with the fields ``{instruction}``, ``{action_space}`` and ``{history}``, which
            replaces the style; any other text of it is kept byte for byte. ``{rule}`` in the path stands for the
            rule's name, for one file a rule.
        answer_format: A name of ``ANSWER_FORMATS``.
        mode: ``strict`` accepts an action in any format; ``strict_format`` refuses a reply that does not keep to
            ``answer_format``; ``legacy`` reproduces the published judge and ending of episodes (format ``json``), and
            takes differences of headings without the modulo, so that some sides are named wrongly, as published.
        milestones: Fewest and most milestones of a dealt route, the destination among them.
        drop_rate: Chance of each point of the road to be left out.
        straight_line_length: Points of a leg before any is left out.

    Raises:
        UnknownName, UserError: an option has an unknown or impossible value.
    """

    name: ClassVar[str] = "navigation"
    rules: tuple[str, ...] = ("absolute", "relative")
    instruction: str = "both"
    prompt_style: str = "paper"
    template: str | None = None
    answer_format: str = "json"
    mode: str = "strict"
    milestones: tuple[int, int] = (2, 5)
    drop_rate: float = 0.5
    straight_line_length: int = 5

    def __post_init__(self) -> None:
        # A recipe brings lists; a frozen value must be hashable.
        object.__setattr__(self, "rules", _names("rules", self.rules))
        object.__setattr__(self, "milestones", tuple(self.milestones))
        if not self.rules:
            raise UserError("rules is empty; name at least the training rule")
        for rule in self.rules:
            find_rule(rule)
        if self.instruction not in INSTRUCTIONS:
            raise UnknownName("instruction", self.instruction, INSTRUCTIONS)
        check_prompt_style(self.prompt_style)
        if self.template is not None:
            for rule in self.rules:
                read_template(template_path(self.template, rule))
        find_answer_format(self.answer_format)
        if self.mode not in MODES:
            raise UnknownName("mode", self.mode, MODES)
        if self.legacy and self.answer_format != "json":
            raise UserError(
                f"mode 'legacy' takes answer_format 'json' (found {self.answer_format!r}); "
                "it is the published judge. Use mode 'strict'"
            )

    @property
    def legacy(self) -> bool:
        """Whether judge and episodes are those published."""
        return self.mode == "legacy"

    def sample(self, rule: str, split: str, index: int, *, seed: int) -> Problem:
        """Return route number ``index`` of a split: a pure function of its arguments and the environment's fields.

        Raises:
            UserError: ``rule`` is not in play.
            UnknownName: no such split.
        """
        if rule not in self.rules:
            find_rule(rule)
            raise UserError(f"rule {rule!r} is not in play (rules: {', '.join(self.rules)}); add it to the rules")
        if split not in SPLITS:
            raise UnknownName("split", split, SPLITS)
        number = _stable_number(f"navigation {seed} {split} {index}")
        # A test route is the recall or the compose route of its number, so that the two part test between them.
        home = ("recall", "compose")[number % 2] if split == "test" else split
        route = deal(home, index, seed=seed, milestones=self.milestones)
        return self.pose(rule, route, split=split, index=index, seed=seed, rail_seed=number % (1 << 32))

    def pose(
        self, rule: str, route: Route, *, split: str, index: int = 0, seed: int = 0, rail_seed: int = 0
    ) -> Problem:
        """Return the problem that asks ``route`` under ``rule``; the rule need not be in play.

        Args:
            rule: Any rule name.
            route: Where to go.
            split, index, seed: Labels of the problem.
            rail_seed: Which points of the road are asked.
        """
        find_rule(rule)
        text = json.dumps(to_json(route), ensure_ascii=False, separators=(",", ":"))
        facts = {"route": text, "rail_seed": rail_seed, "heading": route.init_heading}
        return Problem(self.name, rule, split, index, seed, route.name, facts)

    def steps(self, problem: Problem) -> tuple[Problem, ...]:
        """Return the points of a route, each asked as if all before had been answered right; a point is itself."""
        if "step" in problem.facts:
            return (problem,)
        many = len(self._walk(problem).points)
        return tuple(replace(problem, facts={**problem.facts, "step": step}) for step in range(many))

    def begin(self, problem: Problem, *, attempts: int = 1) -> Episode:
        """Walk the route; of a single point, sequential revision."""
        if "step" in problem.facts:
            return Revision.start(self, problem, attempts=attempts)
        return RouteEpisode.start(self, problem, attempts=attempts)

    def prompt(self, problem: Problem) -> tuple[Message, ...]:
        """Return the one user message that asks a point: instruction, action space, and the history of right actions."""
        rule, walk = find_rule(problem.rule), self._walk(problem)
        instruction = instruction_text(walk, self.instruction, rule)
        history = _history(walk, self.instruction, rule)[: _step(problem) + 1]
        history = (*history[:-1], history[-1]._replace(action=None))
        if self.template is not None:
            text = read_template(template_path(self.template, problem.rule))
            content = template_text(text, rule, instruction=instruction, history=history)
        else:
            content = prompt_text(
                PROMPT_STYLES[style_of(problem, self.prompt_style)],
                rule,
                instruction=instruction,
                history=history,
                answer_format=find_answer_format(self.answer_format),
            )
        return (Message(role="user", content=content),)

    def demonstrate(self, problem: Problem) -> str:
        """Return the right reply at a point, in the answer format."""
        return find_answer_format(self.answer_format).write(self.question(problem).right)

    def verify(self, problem: Problem, reply: str) -> Verdict:
        """Judge ``reply`` at a point. Never raises for any text, and takes bounded time."""
        question = self.question(problem)
        return verify_legacy(question, reply) if self.legacy else verify_strict(question, reply)

    def ungraded(self, problem: Problem, reply: str) -> Verdict:
        """Return the verdict of the published call after the last judged attempt."""
        return ungraded(self.question(problem), reply)

    def question(self, problem: Problem) -> Question:
        """Return what a reply at a point is judged against."""
        short = self.template is None and reads_short(PROMPT_STYLES[style_of(problem, self.prompt_style)])
        facts = problem.facts
        asked = _questions(self, problem.rule, facts["route"], facts["heading"], facts["rail_seed"], short)
        return asked[_step(problem)]

    def _walk(self, problem: Problem) -> Walk:
        facts = problem.facts
        return self.walk(facts["route"], heading=facts["heading"], rail_seed=facts["rail_seed"])

    def walk(self, route: str, *, heading: int, rail_seed: int) -> Walk:
        """Return the walk along a route that is given as JSON text."""
        return walk_of(
            route,
            heading=heading,
            seed=rail_seed,
            drop_rate=self.drop_rate,
            straight_line_length=self.straight_line_length,
            wrapped=not self.legacy,
        )


def _step(problem: Problem) -> int:
    step: int = problem.facts.get("step", 0)
    return step


def _right_action(walk: Walk, point: Point, style: str, rule: Rule) -> str:
    if point.kind is Kind.ROAD:
        return FORWARD
    return STOP if point.kind is Kind.DESTINATION else rule.action(turn_of(walk, point.leg, style))


@lru_cache(maxsize=1024)
def _history(walk: Walk, style: str, rule: Rule) -> tuple[Done, ...]:
    return tuple(
        Done(
            observation(walk, point, style),
            short_observation(walk, point, style),
            _right_action(walk, point, style, rule),
        )
        for point in walk.points
    )


@lru_cache(maxsize=4096)
def _questions(
    environment: Navigation, rule_name: str, route: str, heading: int, rail_seed: int, short: bool
) -> tuple[Question, ...]:
    rule, walk = find_rule(rule_name), environment.walk(route, heading=heading, rail_seed=rail_seed)
    training = find_rule(environment.rules[0])
    told = sentences(walk, environment.instruction, rule)
    questions = []
    for point in walk.points:
        number = sentence_number(point)
        seen = (short_observation if short else observation)(walk, point, environment.instruction)
        action = _right_action(walk, point, environment.instruction, rule)
        under_training = _right_action(walk, point, environment.instruction, training)
        questions.append(
            Question(
                Answer(action, told[number], seen, str(number + 1)),
                rule,
                None if rule == training else training,
                None if under_training == action else under_training,
                point.landmark_text,
                find_answer_format(environment.answer_format),
                environment.mode == "strict_format",
            )
        )
    return tuple(questions)


def _names(option: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(name, str) for name in value):
        raise UserError(f"{option} must be a list of rule names, not {value!r}")
    return tuple(value)


def _stable_number(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")
