"""Who plays, in which tokens, and which word is watched: with the tokenizers of the shipped bases."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import transformers

from holdfast.data.encode import encode, questions
from holdfast.environments.general_points import GeneralPoints
from holdfast.errors import DataError, UserError
from holdfast.models.load import Loaded, load
from holdfast.probes.interactions.game import Question, bind, place
from holdfast.probes.interactions.masking import blank_of, blank_token
from holdfast.probes.interactions.outputs import naive_tokens, shared_tokens
from holdfast.probes.interactions.questions import ask, ask_one, draw
from holdfast.probes.interactions.words import Word, answer_words, chosen, content_words
from holdfast.records import Example, Message

TEXT = "rule J=10 Q=10 K=10\ncards 4 Q A 4\ntarget 24\nanswer values_formula"


@cache
def base(name: str = "pocket") -> Loaded:
    return load(name)


def hands(count: int, answer_format: str) -> list[Example]:
    rule = "faces_as_10"
    environment = GeneralPoints(rules=(rule,), prompt_style="terse", answer_format=answer_format)
    problems = [environment.sample(rule, "train", index, seed=0) for index in range(count)]
    return [
        Example(tuple(environment.prompt(problem)), environment.demonstrate(problem), f"hand {number}")
        for number, problem in enumerate(problems)
    ]


def question(text: str, players: Sequence[Word], answer: str = "yes") -> Question:
    return Question("q", (Message(role="user", content=text),), tuple(players), answer, answer_words(answer)[0])


def said(loaded: Loaded, ids: Sequence[int]) -> str:
    return str(loaded.tokenizer.decode(list(ids))).strip()


def test_function_words_and_signs_do_not_play_and_negations_do() -> None:
    words = [word.text for word in content_words("The cat, who did NOT (ever) sit on a_mat... — #3!")]
    assert words == ["cat", "NOT", "ever", "sit", "a_mat", "3"]


def test_the_same_prompt_has_the_same_players_and_another_one_others() -> None:
    words = content_words(" ".join(f"word{number}" for number in range(30)))
    one, again, other = (chosen(words, 8, key=key) for key in ("a", "a", "b"))
    assert one == again != other
    assert list(one) == sorted(one, key=lambda word: word.start)
    assert chosen(words[:3], 8, key="a") == tuple(words[:3])


@pytest.mark.parametrize("template", ["{prompt}", "Task: {prompt}", "Consider the strange answer.\n{prompt}\n\n"])
@pytest.mark.parametrize("name", ["pocket", "pocket-town"])
def test_a_player_has_the_tokens_of_its_word_in_any_template_and_tokenizer(name: str, template: str) -> None:
    loaded, players = base(name), content_words(TEXT)
    game = bind(question(TEXT, players), loaded.speaker, template=template)
    assert [said(loaded, game.ids[start:end]) for start, end in game.players] == [word.text for word in players]


def test_a_game_is_asked_in_the_tokens_of_training_and_generation() -> None:
    loaded = base()
    example = hands(1, "values_formula")[0]
    placed = place(example.prompt, example.completion, loaded.speaker, name="hand")
    whole = encode(example, loaded.speaker)
    assert placed.ids == whole.input_ids[: len(placed.ids)]
    assert placed.ids[: placed.asked] == questions(loaded.speaker, [example.prompt])[0].input_ids
    target = answer_words(example.completion)[2]
    game = bind(
        Question("q", example.prompt, tuple(content_words(TEXT)[:2]), example.completion, target), loaded.speaker
    )
    assert game.ids == placed.ids[: len(game.ids)]
    assert said(loaded, game.target_ids) == target.text
    assert placed.ids[len(game.ids)] == game.target_ids[0]


def test_a_tokenizer_without_chat_template_plays_too(tmp_path: Any) -> None:
    base().tokenizer.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    plain = transformers.AutoTokenizer.from_pretrained(tmp_path)
    game = bind(question(TEXT, content_words(TEXT), "24 is it"), plain)
    assert [plain.decode(game.ids[start:end]).strip() for start, end in game.players][:2] == ["rule", "J=10"]
    assert plain.decode(game.target_ids) == "24"


def test_a_word_of_the_format_is_passed_over_and_so_is_one_that_the_base_knows() -> None:
    loaded, examples = base(), hands(8, "formula_tagged")
    any_word = ask(examples[:8], loaded.model, loaded.speaker, players=6, watched="any", count=2)
    assert {one.target.text for one in any_word.questions} == {"formula"}
    content = ask(examples, loaded.model, loaded.speaker, players=6, count=2)
    assert not {one.target.text for one in content.questions} & {"formula", "values"}
    assert max(content.sureness) <= 0.99


def test_a_prompt_of_whose_answer_the_base_is_sure_is_refused_with_its_words() -> None:
    loaded, heard = base(), []
    example = Example((Message(role="user", content=TEXT),), "4 10 1 4", "hand")
    with pytest.raises(DataError, match=r"the first: hand: the base is sure of every word .* '4' 1\.000, '10' 1\.000"):
        ask([example], loaded.model, loaded.speaker, players=8, said=heard.append)
    assert len(heard) == 1


def test_a_named_target_that_the_base_is_sure_of_is_refused() -> None:
    loaded = base()
    prompt = [Message(role="user", content=TEXT)]
    with pytest.raises(UserError, match=r"probability of 1\.0000, above 0\.99"):
        ask_one(prompt, "4 10 1 4", loaded.model, loaded.speaker, players=8)
    asked, sureness = ask_one(prompt, "Maybe", loaded.model, loaded.speaker, players=8)
    assert sureness < 0.01
    assert len(asked.players) == 8


def test_too_few_words_are_refused() -> None:
    loaded = base()
    drawn, refused = draw(
        [Example((Message(role="user", content="hello there"),), "hi", "short")], loaded.speaker, players=3
    )
    assert not drawn
    assert "1 content words" in refused[0].why


def test_a_prompt_that_the_template_rewrites_is_refused() -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(base().folder)
    tokenizer.chat_template = tokenizer.chat_template.replace("message['content']", "(message['content'] | upper)")
    with pytest.raises(DataError, match="rewrites"):
        bind(question(TEXT, content_words(TEXT)), tokenizer)


def test_the_blank_is_a_token_that_says_nothing_or_the_one_that_is_named() -> None:
    loaded = base()
    assert blank_token(loaded.speaker) == "<|pad|>"
    assert blank_token(loaded.speaker, "cards") == "cards"
    with pytest.raises(UserError, match="there is no token"):
        blank_token(loaded.speaker, "never heard of")
    found = [blank_of(masking, loaded.model, loaded.speaker) for masking in ("token", "mean", "attention")]
    assert [one.vector_H is None for one in found] == [False, False, True]


def test_prompts_of_the_shipped_bases_need_less_than_a_third_of_the_tokens() -> None:
    loaded = base()
    asked = ask(hands(8, "formula_tagged"), loaded.model, loaded.speaker, players=8, watched="any")
    games = [bind(one, loaded.speaker) for one in asked.questions]
    assert sum(map(naive_tokens, games)) >= 3 * sum(map(shared_tokens, games))
