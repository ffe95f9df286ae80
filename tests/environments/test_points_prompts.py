from __future__ import annotations

import re
from pathlib import Path

import pytest

from holdfast.environments.general_points import GeneralPoints, vocabulary_texts
from holdfast.environments.general_points.answer_formats import ANSWER_FORMATS
from holdfast.environments.general_points.cards import CARD_TEXTS
from holdfast.environments.general_points.prompts import PARAPHRASES, PROMPT_STYLES
from holdfast.environments.general_points.rules import RULES, find_rule
from holdfast.errors import UserError
from holdfast.records import Outcome

HAND = [(11, 0), (7, 2), (3, 1), (12, 3)]
PIECE = re.compile(r"[A-Za-z]+|[0-9]+|[^\sA-Za-z0-9]")


def asked(rule: str = "faces_as_11_12_13", **options: object) -> str:
    environment = GeneralPoints(**options)  # type: ignore[arg-type]
    (message,) = environment.prompt(environment.pose(rule, HAND, split="test"))
    assert message["role"] == "user"
    return message["content"]


@pytest.mark.parametrize("style", PROMPT_STYLES)
@pytest.mark.parametrize("answer_format", ANSWER_FORMATS)
def test_every_prompt_names_rule_cards_target_and_answer_format(style: str, answer_format: str) -> None:
    text = asked(prompt_style=style, answer_format=answer_format)
    assert "{" not in text.replace("{\n", "") or answer_format == "json"
    for needed in ("11", "12", "13", "J", "7", "3", "Q", "24", answer_format):
        assert needed in text
    assert re.search(rf"\b{answer_format}\b", text)


def test_the_terse_prompt_reads_as_documented() -> None:
    assert asked(prompt_style="terse") == "rule J=11 Q=12 K=13\ncards J 7 3 Q\ntarget 24\nanswer json"


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("answer_format", ANSWER_FORMATS)
def test_terse_prompts_stay_short(rule: str, answer_format: str) -> None:
    if not find_rule(rule).reads_suits:
        assert len(PIECE.findall(asked(rule, prompt_style="terse", answer_format=answer_format))) <= 30


def test_the_paper_prompt_has_the_published_structure() -> None:
    text = asked(prompt_style="paper")
    assert text.startswith("\n[")
    assert text.endswith("\n\n")
    assert len(re.findall(r"^\[\w+\]$", text, re.MULTILINE)) == 4
    assert text.count("J, Q and K count as 11, 12 and 13") == 2
    assert "Cards: ['J', '7', '3', 'Q']\n" in text
    for field in ("cards", "number", "formula"):
        assert f'"{field}": ' in text


def test_only_the_rule_changes_between_the_prompts_of_two_rules() -> None:
    one, other = asked("faces_as_10"), asked("faces_as_11_12_13")
    assert one.replace("J, Q and K each count as 10", "RULE") == other.replace(
        "J, Q and K count as 11, 12 and 13", "RULE"
    )


def test_there_are_a_dozen_paraphrases_and_all_are_drawn() -> None:
    environment = GeneralPoints(prompt_style="paraphrase")
    assert len(PARAPHRASES) >= 12
    styles = set()
    for index in range(300):
        problem = environment.sample("faces_as_10", "train", index, seed=0)
        (message,) = environment.prompt(problem)
        assert environment.prompt(problem) == (message,)
        named = [
            style
            for style in PROMPT_STYLES
            if GeneralPoints(prompt_style=style).prompt(problem)[0]["content"] == message["content"]
        ]
        assert len(named) == 1
        styles.update(named)
    assert len(styles) == len(PARAPHRASES)


def test_paired_problems_are_paraphrased_alike() -> None:
    environment = GeneralPoints(prompt_style="paraphrase", paired_with=("faces_as_10", "faces_as_11_12_13"))
    for index in range(30):
        one, other = (environment.sample(rule, "test", index, seed=0) for rule in environment.rules)
        texts = [
            environment.prompt(problem)[0]["content"].replace(find_rule(problem.rule).terse(), "RULE")
            for problem in (one, other)
        ]
        assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("card_text", "terse", "listed"),
    [
        ("ranks", "cards J 7 3 Q\n", "['J', '7', '3', 'Q']"),
        (
            "suit_words",
            "cards a red jack, a black seven, a red three, a black queen\n",
            "['a red jack', 'a black seven', 'a red three', 'a black queen']",
        ),
        (
            "long",
            "cards the jack of hearts, the seven of spades, the three of diamonds, the queen of clubs\n",
            "['the jack of hearts', 'the seven of spades', 'the three of diamonds', 'the queen of clubs']",
        ),
    ],
)
def test_cards_are_worded_as_asked(card_text: str, terse: str, listed: str) -> None:
    assert terse in asked(prompt_style="terse", card_text=card_text)
    assert listed in asked(prompt_style="paper", card_text=card_text)


@pytest.mark.parametrize("card_text", CARD_TEXTS)
def test_colors_are_shown_under_every_rule_if_one_in_play_reads_them(card_text: str) -> None:
    rules = ("faces_as_10", "faces_as_11_12_13+red_negative")
    texts = [asked(rule, rules=rules, prompt_style="terse", card_text=card_text) for rule in rules]
    cards = [text.split("\n")[1] for text in texts]
    assert cards[0] == cards[1]
    if card_text == "ranks":
        assert cards[0] == "cards red J black 7 red 3 black Q"
    assert "red negative" in texts[1]


def test_a_template_file_is_kept_byte_for_byte(tmp_path: Path) -> None:
    text = (
        "\ufeff\r\n  [Täsk] {target} points.,  \r\n{cards}\t{ not a field } {{rule}} {unknown} {}\n"
        "{rule}., {target}{target}\r\n\r\n\x0c  \n"
    )
    path = tmp_path / "template.txt"
    path.write_bytes(text.encode())
    expected = (
        text.replace("{target}", "24")
        .replace("{cards}", "['J', '7', '3', 'Q']")
        .replace("{rule}", "J, Q and K count as 11, 12 and 13")
    )
    assert asked(template=str(path)) == expected


def test_a_template_may_be_one_file_a_rule(tmp_path: Path) -> None:
    for rule in ("faces_as_10", "faces_as_11_12_13"):
        (tmp_path / f"{rule}.txt").write_text(f"{{cards}} {rule}!", encoding="utf-8")
    template = str(tmp_path / "{rule}.txt")
    assert asked("faces_as_10", template=template) == "['J', '7', '3', 'Q'] faces_as_10!"
    assert asked("faces_as_11_12_13", template=template) == "['J', '7', '3', 'Q'] faces_as_11_12_13!"


def test_an_unusable_template_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.txt"):
        GeneralPoints(template=str(tmp_path / "missing.txt"))
    (tmp_path / "no_cards.txt").write_text("{target} {rule}", encoding="utf-8")
    with pytest.raises(UserError, match=r"no field \{cards\}"):
        GeneralPoints(template=str(tmp_path / "no_cards.txt"))
    (tmp_path / "binary.txt").write_bytes(b"{cards}\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        GeneralPoints(template=str(tmp_path / "binary.txt"))


def test_published_answers_are_written_as_published() -> None:
    environment = GeneralPoints()
    problem = environment.pose("faces_as_10", [(1, 0), (3, 0), (13, 0), (6, 0)], split="train")
    text = environment.demonstrate(problem)
    found = re.fullmatch(
        r"\n\{\n  \"cards\": \['A', '3', 'K', '6'\],\n  \"number\": \[1, 3, 10, 6\],\n  \"formula\": \"(.*)=24\",\n\}",
        text,
    )
    assert found is not None
    assert sorted(re.findall("[0-9]+", found[1])) == ["1", "10", "3", "6"]


def test_terse_answers_stay_short() -> None:
    environment = GeneralPoints(answer_format="values_formula")
    for index in range(300):
        for rule in environment.rules:
            answer = environment.demonstrate(environment.sample(rule, "train", index, seed=0))
            assert len(PIECE.findall(answer)) <= 25, answer
            assert re.fullmatch(r"[0-9]+( [0-9]+){3}: [^ ]+=24", answer)


@pytest.mark.parametrize("answer_format", ANSWER_FORMATS)
@pytest.mark.parametrize("card_text", CARD_TEXTS)
def test_every_demonstration_is_correct_under_every_rule_style_and_wording(answer_format: str, card_text: str) -> None:
    hand = [(4, 0), (12, 2), (2, 1), (10, 3)]
    for style in PROMPT_STYLES:
        environment = GeneralPoints(prompt_style=style, card_text=card_text, answer_format=answer_format)
        for rule in (*RULES, "faces_as_3_1_13", "faces_as_10+ace_as_11+black_doubled"):
            for cards in (hand, [(1, 0), (11, 2), (13, 1), (3, 3)], [(8, 0), (3, 2), (8, 1), (3, 3)]):
                problem = environment.pose(rule, cards, split="test")
                assert environment.prompt(problem)[0]["content"]
                if environment.solvable(problem):
                    verdict = environment.verify(problem, environment.demonstrate(problem))
                    assert verdict.outcome is Outcome.CORRECT, (problem, verdict)
                    assert verdict.facts["format_ok"] is True
                    assert verdict.facts["numbers_ok"] in (True, None)


def test_every_word_of_the_world_is_in_the_vocabulary() -> None:
    known = {piece for text in vocabulary_texts() for piece in PIECE.findall(text)}
    rule = "faces_as_11_12_13+ace_as_14+red_negative+black_doubled"
    for style in PROMPT_STYLES:
        for answer_format in ANSWER_FORMATS:
            for card_text in CARD_TEXTS:
                environment = GeneralPoints(prompt_style=style, answer_format=answer_format, card_text=card_text)
                problem = environment.pose(rule, HAND, split="test")
                texts = [environment.prompt(problem)[0]["content"]]
                texts += [environment.verify(problem, reply).message for reply in ("", "1+1", "J", "(1", "1/0")]
                if environment.solvable(problem):
                    texts.append(environment.demonstrate(problem))
                for text in texts:
                    unknown = {piece for piece in PIECE.findall(text) if piece not in known and not piece.isdigit()}
                    assert not unknown, (style, answer_format, card_text)
