from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from holdfast.data.encode import encode_all
from holdfast.environments import MIXTURES
from holdfast.environments.navigation import find_rule, vocabulary_texts
from holdfast.environments.navigation.mixture import Mixture
from holdfast.environments.navigation.names import PROPER, QUALITIES, pairs
from holdfast.errors import UnknownName, UserError
from holdfast.members import build
from holdfast.records import Outcome
from holdfast.train.pretrain import make_tokenizer, read_recipe

RECIPE = read_recipe(Path(__file__).parents[2] / "recipes" / "pretrain" / "pocket-town.yaml")
MIXTURE: Mixture = build("mixture", RECIPE.mixture, MIXTURES)

SMALL = Mixture(
    formats={"numbered": 1.0},
    styles={"terse": 1.0},
    rules={"tokens": 0.5, "relative": 0.5},
    held_out_rules=("degrees", "tokens_100", "tokens_101"),
    tellings={"both": 1.0},
    actions={"turn": 1.0},
    retry_every=3,
)


def test_rows_and_words_of_the_base_do_not_change() -> None:
    """A base was made of these rows: a change here makes a base that nobody can make again."""
    # Options of its own, so that the recipe's shares may be tuned.
    plain = Mixture(
        formats={"numbered": 0.5, "lines": 0.5},
        styles={"terse": 0.5, "paraphrase": 0.5},
        rules={"tokens": 0.5, "clock": 0.5},
        held_out_rules=(),
        tellings={"both": 0.5, "worked_out": 0.3, "landmark": 0.2},
        actions={"turn": 0.5, "forward": 0.3, "stop": 0.2},
        retry_every=4,
    )
    rows = [plain.example(number, step=step, seed=0) for step in range(4) for number in range(10)]
    assert digest([[row.prompt, row.completion] for row in rows]) == "06a8a0ba0009ee52"
    pieces = {piece for text in vocabulary_texts() for piece in re.findall(r"[A-Za-z]+|[0-9]+|[^\sA-Za-z0-9]", text)}
    assert digest(sorted(pieces)) == "36d213ec6a27869d"


def digest(value: object) -> str:
    return sha256(json.dumps(value).encode()).hexdigest()[:16]


def test_no_word_of_a_row_falls_apart_into_bytes() -> None:
    tokenizer = make_tokenizer(RECIPE)
    rows = [
        MIXTURE.example(number, step=step, seed=1)
        for step in (0, RECIPE.mixture["retry_every"] - 1)
        for number in range(150)
    ]
    for encoded in encode_all(rows, tokenizer):
        pieces = [tokenizer.decode([token]) for token in encoded.input_ids]
        single = [piece for piece in pieces if len(piece) == 1 and piece.isalpha()]
        assert set(single) <= {"x"}
        assert not any("\ufffd" in piece for piece in pieces)


def test_rows_stay_short() -> None:
    tokenizer = make_tokenizer(RECIPE)
    lengths = sorted(
        len(row.input_ids) for row in encode_all([MIXTURE.example(n, step=0, seed=2) for n in range(300)], tokenizer)
    )
    assert sum(lengths) / len(lengths) < 200
    assert lengths[-1] < 500


def test_held_out_rules_never_occur() -> None:
    rng = Random(0)
    rules = [SMALL.deal(rng)[1].rule for _ in range(600)]
    assert not {"degrees", "tokens_100", "tokens_101"} & set(rules)
    tokens = [int(rule.removeprefix("tokens_")) for rule in rules if rule != "relative"]
    assert 230 < len(tokens) < 370
    assert min(tokens) >= 100
    held_out = {find_rule(f"tokens_{k}").words for k in range(100)}
    assert held_out.isdisjoint(find_rule(f"tokens_{k}").words for k in tokens)


def test_names_of_the_held_out_cities_never_occur() -> None:
    held_out = {f"{proper} {kind}" for pool in ("compose", "validation") for proper, kind in pairs(pool)}
    seen = 0
    for number in range(300):
        text = MIXTURE.example(number, step=0, seed=0).prompt[0]["content"]
        for quality, proper, kind in re.findall(
            r"(?:where (?:The destination )?)((?:\w+ )?)(\w+) (\w+) is on your", text
        ):
            assert proper in PROPER
            assert quality.strip() in ("", *QUALITIES) or quality == "destination "
            assert f"{proper} {kind}" not in held_out
            seen += 1
    assert seen > 300


def test_rows_are_a_pure_function_of_seed_step_and_number() -> None:
    again = dataclasses.replace(SMALL)
    assert SMALL.example(5, step=7, seed=3) == again.example(5, step=7, seed=3)
    assert (
        len(
            {
                SMALL.example(n, step=s, seed=d).prompt[0]["content"]
                for n, s, d in ((5, 7, 3), (6, 7, 3), (5, 8, 3), (5, 7, 4))
            }
        )
        == 4
    )


def test_every_third_step_holds_failed_trials_and_no_other() -> None:
    lengths = {step: {len(SMALL.example(n, step=step, seed=0).prompt) for n in range(20)} for step in range(6)}
    assert lengths == {0: {1}, 1: {1}, 2: {3}, 3: {1}, 4: {1}, 5: {3}}
    for number in range(40):
        row = SMALL.example(number, step=2, seed=0)
        assert row.prompt[1]["content"] != row.completion
        assert row.prompt[2]["content"].startswith("That answer failed")


def test_answers_are_correct_and_kinds_of_points_balanced_as_asked() -> None:
    rng, kinds = Random(1), Counter[str]()
    for _ in range(400):
        environment, problem = MIXTURE.deal(rng)
        verdict = environment.verify(problem, environment.demonstrate(problem))
        assert verdict.outcome is Outcome.CORRECT
        kinds.update(name for name in ("turn_right", "forward_right", "stop_right") if verdict.facts[name])
    shares = MIXTURE.actions
    for name, count in kinds.items():
        assert abs(count / 400 - shares[name.removesuffix("_right")] / sum(shares.values())) < 0.08


def test_faults_of_a_mixture_are_named() -> None:
    for change, words in (
        ({"rules": {"degrees": 1.0}}, "both shown and held out"),
        ({"formats": {"jsom": 1.0}}, "jsom"),
        ({"tellings": {"bot": 1.0}}, "bot"),
        ({"actions": {"turns": 1.0}}, "turns"),
    ):
        with pytest.raises((UserError, UnknownName), match=words):
            dataclasses.replace(SMALL, **change)  # type: ignore[arg-type]


def test_exposure_names_what_was_shown_and_held_out() -> None:
    told = MIXTURE.exposure()
    assert json.loads(json.dumps(told)) == told
    assert "degrees" in told["held_out_rules"]
    assert "json" not in told["answer_formats"]
