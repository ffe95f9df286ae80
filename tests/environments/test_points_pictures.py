"""Hands as pictures: the published geometry, and the published judge of what was recognized."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from holdfast.environments.general_points import GeneralPoints
from holdfast.environments.general_points.cards import Card, rank_text
from holdfast.environments.general_points.pictures import BACKGROUND, CardPicture, places
from holdfast.errors import UnknownName, UserError
from holdfast.records import Outcome, Problem, Verdict

HAND = (Card(4, 0), Card(3, 2), Card(2, 1), Card(10, 3))  # red, black, red, black


def game(**options: Any) -> GeneralPoints:
    return GeneralPoints(**{"cards_as": "picture", **options})


def asked(environment: GeneralPoints, hand: tuple[Card, ...] = HAND) -> Problem:
    return environment.pose("faces_as_10", hand, split="test")


def test_four_cards_lie_where_the_published_ones_do() -> None:
    # 1200 / 4 * 0.9 = 270 wide, 270 * 7 / 5 = 378 high; x = 5 + int(i * 270 * 1.1); y = (1200 - 378) / 2.
    assert places(4, 1200) == ((5, 411, 270, 378), (302, 411, 270, 378), (599, 411, 270, 378), (896, 411, 270, 378))


def test_cards_are_white_on_table_green_with_ink_of_their_suit() -> None:
    image = CardPicture(HAND, 1200).render()
    assert (image.size, image.mode) == ((1200, 1200), "RGB")
    assert BACKGROUND == (0x35, 0x65, 0x4D)
    for corner in ((0, 0), (1199, 1199), (290, 600), (600, 400)):  # edges, between two cards, above a card
        assert image.getpixel(corner) == BACKGROUND
    for card, (x, y, width, height) in zip(HAND, places(4, 1200), strict=True):
        assert image.getpixel((x, y)) == BACKGROUND  # corners are rounded
        assert image.getpixel((x + width // 2, y + 10)) == (255, 255, 255)
        red, green, blue = image.getpixel((x + width // 2, y + height // 2))  # inside of the large suit
        assert max(green, blue) < 60
        assert (red > 150) == card.red
        colors = image.crop((x, y, x + width, y + height)).getcolors(100_000)
        assert colors is not None
        inked = [(r, g, b) for _, (r, g, b) in colors if r > 150 and max(g, b) < 60]
        assert bool(inked) == card.red


def test_a_picture_is_the_same_at_every_drawing_and_differs_with_every_card() -> None:
    drawn = {
        (rank, suit): CardPicture((Card(rank, suit),) * 4, 120).render().tobytes()
        for rank in range(1, 14)
        for suit in range(4)
    }
    assert len(set(drawn.values())) == 52
    assert CardPicture((Card(5, 1),) * 4, 120).render().tobytes() == drawn[5, 1]


def test_the_picture_of_the_docs_is_what_is_drawn() -> None:
    shown = Image.open(Path(__file__).parents[2] / "docs" / "images" / "hand.png").convert("RGB")
    drawn = CardPicture((Card(12, 0), Card(10, 2), Card(7, 1), Card(1, 3)), 600).render()
    difference = ImageChops.difference(shown, drawn)
    assert max(ImageStat.Stat(difference).mean) < 1  # glyphs may differ a little between versions of Pillow


def test_the_prompt_shows_the_cards_and_does_not_name_them() -> None:
    environment = game()
    (message,) = environment.prompt(asked(environment))
    assert message["images"] == (CardPicture(HAND, 1200),)
    assert "[Cards]" not in message["content"]
    assert message["content"].count("J, Q and K each count as 10") == 2
    assert "JSON" in message["content"]
    other = environment.prompt(asked(environment, (Card(1, 0), *HAND[1:])))[0]
    assert other["content"] == message["content"]
    assert json.dumps(message["images"][0].to_json()) != json.dumps(other["images"][0].to_json())
    text = GeneralPoints().prompt(asked(environment))[0]
    assert "images" not in text


def test_red_and_black_suites_deal_the_same_ranks() -> None:
    black, red, mixed = (game(suits=suits) for suits in ("black", "red", "mixed"))
    for index in range(30):
        hands = [
            [Card(*card) for card in one.sample("faces_as_10", "test", index, seed=1).facts["hand"]]
            for one in (black, red, mixed)
        ]
        assert len({tuple(card.rank for card in hand) for hand in hands}) == 1
        assert not any(card.red for card in hands[0])
        assert all(card.red for card in hands[1])
    assert GeneralPoints().sample("faces_as_10", "test", 3, seed=1) == mixed.sample("faces_as_10", "test", 3, seed=1)


def reply(cards: str, formula: str = "4*3+2+10=24") -> str:
    return f'{{\n  "cards": {cards},\n  "number": [4, 3, 2, 10],\n  "formula": "{formula}",\n}}'


RIGHT = "['4', '3', '2', '10']"
LEGACY = [
    (reply(RIGHT), 5, True),
    (reply("['10', '2', '3', '4']"), 5, True),  # in any order
    (reply("['4', '3', '2', 'K']"), -1.5, False),  # before all else, though the formula is right
    (reply("['4', '3', '2']"), -1.5, False),
    (reply('["4", "3", "2", "10"]'), -1.5, False),  # double quotes stay on the ranks
    (json.dumps({"cards": ["4", "3", "2", "10"], "formula": "4*3+2+10"}), -1.5, False),  # valid JSON is wrong
    (json.dumps({"cards": RIGHT, "formula": "4*3+2+10"}), 5, True),  # but for a list inside of a string
    (reply(RIGHT, "4*3+2"), -2, True),
    (reply("['9', '9', '9', '9']", "9**9"), -1.5, False),  # nothing further is judged
    ("no idea", -1.5, False),
    ('{"formula": 24}', -1.5, False),
]


@pytest.mark.parametrize(("said", "reward", "cards_ok"), LEGACY)
def test_the_published_judge_of_pictures_is_reproduced(said: str, reward: float, cards_ok: bool) -> None:
    environment = game(mode="legacy")
    verdict = environment.verify(asked(environment), said)
    assert verdict.reward == reward
    assert verdict.facts["cards_ok"] is cards_ok
    assert (verdict.code == "wrong_cards") == (reward == -1.5)
    assert "cards_ok" not in GeneralPoints(mode="legacy").verify(asked(environment), said).facts


def test_the_strict_judge_asks_for_the_formula_and_notes_what_was_recognized() -> None:
    environment = game()

    def judged(said: str, environment: GeneralPoints = environment) -> Verdict:
        return environment.verify(asked(environment), said)

    for cards in (RIGHT, '["10", "4", "3", "2"]', "[4, 3, 2, 10]"):
        assert judged(reply(cards)).facts["cards_ok"] is True
    wrong = judged(reply("['4', '3', '2', 'K']"))
    assert (wrong.outcome, wrong.facts["cards_ok"]) == (Outcome.CORRECT, False)
    assert judged("no idea").facts["cards_ok"] is False
    assert judged("4*3+2+10=24", game(answer_format="formula")).facts["cards_ok"] is None
    assert "cards_ok" not in GeneralPoints().verify(asked(environment), reply(RIGHT)).facts


@pytest.mark.parametrize("mode", ["strict", "strict_format", "legacy"])
def test_demonstrations_of_pictures_are_correct_and_name_the_cards(mode: str) -> None:
    environment = game(mode=mode, suits="black")
    for index in range(40):
        problem = environment.sample("faces_as_11_12_13", "test", index, seed=0)
        verdict = environment.verify(problem, environment.demonstrate(problem))
        assert (verdict.outcome, verdict.facts["cards_ok"]) == (Outcome.CORRECT, True)
        hand = [Card(*card) for card in problem.facts["hand"]]
        assert all(rank_text(card) in environment.demonstrate(problem) for card in hand)


def test_options_that_make_no_sense_with_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="terse"):
        game(prompt_style="paraphrase")
    with pytest.raises(UnknownName, match="picture"):
        GeneralPoints(cards_as="image")
    with pytest.raises(UserError, match="leave it out"):
        game(card_text="long")
    with pytest.raises(UserError, match="reads suits"):
        GeneralPoints(rules=("red_negative",), suits="red")
    with pytest.raises(UserError, match="resolution"):
        game(resolution=10)
    template = tmp_path / "template.txt"
    template.write_text("make {target} from {cards} where {rule}")
    with pytest.raises(UserError, match="take its"):
        game(template=str(template))
    template.write_text("make {target} from the picture where {rule}")
    environment = game(template=str(template.rename(tmp_path / "other.txt")))
    assert environment.prompt(asked(environment))[0]["content"].startswith("make 24 from the picture where J, Q")
