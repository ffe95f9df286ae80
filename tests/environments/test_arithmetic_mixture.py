from __future__ import annotations

import re

import pytest

from holdfast.environments.arithmetic import Arithmetic, held_out_of_pretraining, vocabulary_texts
from holdfast.environments.arithmetic.mixture import Mixture
from holdfast.environments.arithmetic.problems import key_of
from holdfast.environments.arithmetic.rules import RULES
from holdfast.environments.arithmetic.styles import STYLES
from holdfast.errors import UnknownName, UserError
from holdfast.records import Outcome

SHARES = {
    "styles": {"sentences": 0.5, "equations": 0.5},
    "prompt_styles": {"terse": 0.5, "paraphrase": 0.5},
    "rules": {"times_first": 0.5, "plus_first": 0.5},
    "levels": {1: 0.3, 2: 0.3, 3: 0.4},
}
MIXTURE = Mixture(**SHARES)  # type: ignore[arg-type]
WORD = re.compile(r"[A-Za-z]+|[^\sA-Za-z0-9]")


def asked(number: int) -> tuple[str, str]:
    example = MIXTURE.example(number, step=0, seed=0)
    return example.prompt[0]["content"], example.completion


def expression_in(prompt: str) -> str:
    found = re.search(r"[0-9(][-+*() 0-9]*[0-9)]", prompt)
    assert found is not None
    return found[0]


def test_rows_are_a_pure_function_of_seed_step_and_number() -> None:
    again = Mixture(**SHARES)  # type: ignore[arg-type]
    assert MIXTURE.example(5, step=7, seed=3) == again.example(5, step=7, seed=3)
    others = [
        MIXTURE.example(5, step=7, seed=4),
        MIXTURE.example(6, step=7, seed=3),
        MIXTURE.example(5, step=8, seed=3),
    ]
    assert MIXTURE.example(5, step=7, seed=3) not in others


def test_rows_are_right_under_the_rule_that_they_name() -> None:
    named = {words: name for name, words in ((rule.name, rule.words) for rule in RULES.values())}
    seen = set()
    for number in range(300):
        prompt, answer = asked(number)
        rule = next(name for words, name in named.items() if words in prompt)
        seen.add(rule)
        environment = Arithmetic()
        problem = environment.pose(rule, expression_in(prompt), split="x")
        verdict = environment.verify(problem, answer)
        assert verdict.outcome is Outcome.CORRECT, (prompt, answer)
        assert verdict.facts["steps_right"] is True
        assert problem.facts["level"] in MIXTURE.levels
    assert seen == set(MIXTURE.rules)


def test_held_out_keys_never_occur() -> None:
    keys = set()
    for number in range(1500):
        expression = expression_in(asked(number)[0])
        keys.add(key_of([int(n) for n in re.findall("[0-9]+", expression)], re.findall(r"[-+*]", expression)))
    assert len(keys) > 500
    assert not any(held_out_of_pretraining(key) for key in keys)


def test_no_base_can_be_shown_the_foreign_style() -> None:
    with pytest.raises(UserError, match="foreign"):
        Mixture(**{**SHARES, "styles": {"foreign": 1.0}})  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="sentences"):
        Mixture(**{**SHARES, "styles": {"sentence": 1.0}})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="levels"):
        Mixture(**{**SHARES, "levels": {5: 1.0}})  # type: ignore[arg-type]


def test_the_foreign_style_is_made_of_words_that_other_styles_write() -> None:
    def words(names: set[str]) -> set[str]:
        environments = [Arithmetic(style=name) for name in names]
        problems = [environments[0].sample("times_first", "train", index, seed=0) for index in range(300)]
        return {word for e in environments for problem in problems for word in WORD.findall(e.demonstrate(problem))}

    assert words({"foreign"}) <= words(set(STYLES) - {"foreign"})


def test_the_exposure_names_what_was_shown_and_what_was_not() -> None:
    exposure = MIXTURE.exposure()
    assert exposure["held_out_rules"] == ["left_to_right"]
    assert "foreign" not in exposure["styles"]


def test_every_word_of_prompts_answers_and_messages_is_in_the_vocabulary() -> None:
    known = {word for text in vocabulary_texts() for word in WORD.findall(text)}
    for style in STYLES:
        for prompt_style in ("plain", "terse", "paraphrase"):
            environment = Arithmetic(style=style, prompt_style=prompt_style)
            for index in range(30):
                problem = environment.sample("plus_first", "test", index, seed=0)
                texts = [environment.prompt(problem)[0]["content"], environment.demonstrate(problem)]
                texts += [
                    environment.verify(problem, reply).message
                    for reply in ("", "0", "3 minus 1 is 5. The answer is 1.")
                ]
                for text in texts:
                    assert set(WORD.findall(text)) <= known, text
