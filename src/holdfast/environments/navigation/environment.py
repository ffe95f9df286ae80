"""Navigation: follow the instruction of a route through a city, under rules that say how a turn is named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import ClassVar

from holdfast.environments.base import SPLITS, Episode, Revision
from holdfast.environments.navigation.answer_formats import find_answer_format
from holdfast.environments.navigation.city import FEWEST, MOST, deal
from holdfast.environments.navigation.episode import RouteEpisode
from holdfast.environments.navigation.file_splits import panoramas_of, routes_of_split
from holdfast.environments.navigation.instructions import INSTRUCTIONS
from holdfast.environments.navigation.legacy import ungraded, verify_legacy
from holdfast.environments.navigation.prompts import (
    PROMPT_STYLES,
    check_prompt_style,
    prompt_text,
    read_template,
    reads_short,
    style_of,
    template_path,
    template_text,
)
from holdfast.environments.navigation.route import Route, to_json
from holdfast.environments.navigation.rules import find_rule
from holdfast.environments.navigation.script import Script, script_of
from holdfast.environments.navigation.verifier import Question, verify_strict
from holdfast.environments.navigation.walk import Walk, walk_of
from holdfast.errors import UnknownName, UserError
from holdfast.records import Message, Problem, Verdict

MODES = ("strict", "strict_format", "legacy")
MOST_POINTS = 100
"""Points of a leg."""


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
        milestones: Fewest and most milestones of a made route, the destination among them.
        routes: A route file in the published form, of real streets or made ones, instead of made routes. Its routes
            are parted among ``train``, ``validation`` and ``test``.
        panoramas: A file of panoramas: points of the road move to the nearest one, or are left out.
        drop_rate: Chance of each point of the road to be left out.
        straight_line_length: Points of a leg before any is left out.

    Raises:
        UnknownName, UserError: an option has an unknown or impossible value.
        DataError: the route file cannot be used.
    """

    name: ClassVar[str] = "navigation"
    multi_step: ClassVar[bool] = True
    rules: tuple[str, ...] = ("absolute", "relative")
    instruction: str = "both"
    prompt_style: str = "paper"
    template: str | None = None
    answer_format: str = "json"
    mode: str = "strict"
    milestones: tuple[int, int] = (2, 5)
    routes: str | None = None
    panoramas: str | None = None
    drop_rate: float = 0.5
    straight_line_length: int = 5

    def __post_init__(self) -> None:
        # A recipe brings lists; a frozen value must be hashable.
        object.__setattr__(self, "rules", _names("rules", self.rules))
        object.__setattr__(self, "milestones", _milestones(self.milestones))
        if not self.rules:
            raise UserError("rules is empty; name at least the training rule")
        for rule in self.rules:
            find_rule(rule)
        self._check_wording()
        self._check_world()

    def _check_wording(self) -> None:
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

    def _check_world(self) -> None:
        if self.routes is not None:
            routes_of_split(self.routes, "train")
        if self.panoramas is not None:
            panoramas_of(self.panoramas)
        if not 0 <= self.drop_rate <= 1:
            raise UserError(f"drop_rate is {self.drop_rate!r}; it must be a probability, 0 to 1")
        many = self.straight_line_length
        if isinstance(many, bool) or not isinstance(many, int) or not 0 <= many <= MOST_POINTS:
            raise UserError(f"straight_line_length must be a whole number from 0 to {MOST_POINTS}, not {many!r}")

    @property
    def legacy(self) -> bool:
        """Whether judge and episodes are those published."""
        return self.mode == "legacy"

    def sample(self, rule: str, split: str, index: int, *, seed: int) -> Problem:
        """Return route number ``index`` of a split: a pure function of its arguments and the environment's fields.

        Raises:
            UserError: ``rule`` is not in play, or the route file has no route of the split.
            UnknownName: no such split.
        """
        if rule not in self.rules:
            find_rule(rule)
            raise UserError(f"rule {rule!r} is not in play (rules: {', '.join(self.rules)}); add it to the rules")
        if split not in SPLITS:
            raise UnknownName("split", split, SPLITS)
        number = _stable_number(f"navigation {seed} {split} {index}")
        if self.routes is not None:
            known = routes_of_split(self.routes, split)
            route = known[index % len(known)]
        else:
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
        facts = problem.facts
        many = len(self.walk(facts["route"], heading=facts["heading"], rail_seed=facts["rail_seed"]).points)
        return tuple(replace(problem, facts={**problem.facts, "step": step}) for step in range(many))

    def begin(self, problem: Problem, *, attempts: int = 1) -> Episode:
        """Walk the route; of a single point, sequential revision."""
        if "step" in problem.facts:
            return Revision.start(self, problem, attempts=attempts)
        return RouteEpisode.start(self, problem, attempts=attempts)

    def prompt(self, problem: Problem) -> tuple[Message, ...]:
        """Return the one user message that asks a point: instruction, action space, history of right actions."""
        rule, facts, step = find_rule(problem.rule), problem.facts, _step(problem)
        script = _script(self, problem.rule, facts["route"], facts["heading"], facts["rail_seed"])
        history = (*script.history[:step], script.history[step]._replace(action=None))
        if self.template is not None:
            text = read_template(template_path(self.template, problem.rule))
            content = template_text(text, rule, instruction=script.instruction, history=history)
        else:
            content = prompt_text(
                PROMPT_STYLES[style_of(problem, self.prompt_style)],
                rule,
                instruction=script.instruction,
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

    def walk(self, route: str, *, heading: int, rail_seed: int) -> Walk:
        """Return the walk along a route that is given as JSON text."""
        return walk_of(
            route,
            heading=heading,
            seed=rail_seed,
            drop_rate=self.drop_rate,
            straight_line_length=self.straight_line_length,
            panoramas=None if self.panoramas is None else panoramas_of(self.panoramas),
            wrapped=not self.legacy,
        )


def _step(problem: Problem) -> int:
    step: int = problem.facts.get("step", 0)
    return step


@lru_cache(maxsize=4096)
def _script(environment: Navigation, rule: str, route: str, heading: int, rail_seed: int) -> Script:
    walk = environment.walk(route, heading=heading, rail_seed=rail_seed)
    training = find_rule(environment.rules[0])
    return script_of(walk, environment.instruction, rule=find_rule(rule), training=training)


@lru_cache(maxsize=4096)
def _questions(
    environment: Navigation, rule_name: str, route: str, heading: int, rail_seed: int, short: bool
) -> tuple[Question, ...]:
    rule, training = find_rule(rule_name), find_rule(environment.rules[0])
    script = _script(environment, rule_name, route, heading, rail_seed)
    answers = script.short_answers if short else script.answers
    return tuple(
        Question(
            right,
            rule,
            None if rule == training else training,
            None if under_training == right.action else under_training,
            landmark_text,
            find_answer_format(environment.answer_format),
            environment.mode == "strict_format",
        )
        for right, under_training, landmark_text in zip(
            answers, script.training_actions, script.landmark_texts, strict=True
        )
    )


def _names(option: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(name, str) for name in value):
        raise UserError(f"{option} must be a list of rule names, not {value!r}")
    return tuple(value)


def _milestones(value: object) -> tuple[int, ...]:
    found = tuple(value) if isinstance(value, Sequence) else ()
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in found)
    if len(found) != 2 or not whole or not FEWEST <= found[0] <= found[1] <= MOST:
        raise UserError(f"milestones must be fewest and most, whole numbers from {FEWEST} to {MOST}, not {value!r}")
    return found


def _stable_number(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")
