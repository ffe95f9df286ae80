from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from holdfast.data.encode import encode
from holdfast.models.word_tokenizer import build
from holdfast.records import Example, Message

TOKENIZER = build(["rule J=11 cards A K\nanswer <values>", "It's so."], numbers=30)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_comes_back_exactly(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert TOKENIZER.decode(ids) == text


def test_words_are_one_token_with_and_without_a_space_before_them() -> None:
    assert TOKENIZER.tokenize("cards cards 29 29") == ["cards", "Ġcards", "Ġ29", "Ġ29"]
    assert len(TOKENIZER.tokenize("unheard")) == len("unheard")


def test_order_of_the_texts_does_not_matter() -> None:
    other = build(["It's so.", "rule J=11 cards A K\nanswer <values>"], numbers=30)
    assert other.get_vocab() == TOKENIZER.get_vocab()


def test_a_saved_tokenizer_loads_as_the_same(tmp_path: object) -> None:
    TOKENIZER.save_pretrained(str(tmp_path))
    loaded = AutoTokenizer.from_pretrained(str(tmp_path))
    for text in ("rule J=11", "ünïcode ☃"):
        assert loaded(text)["input_ids"] == TOKENIZER(text)["input_ids"]
    assert (loaded.padding_side, loaded.eos_token, loaded.pad_token) == ("left", "<|end|>", "<|pad|>")


def test_the_template_marks_what_the_assistant_said() -> None:
    messages = [{"role": "user", "content": "cards A"}, {"role": "assistant", "content": "11"}]
    out = TOKENIZER.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    learned = [token for token, mine in zip(out["input_ids"], out["assistant_masks"], strict=True) if mine]
    assert TOKENIZER.decode(learned) == "11<|end|>"


def test_an_answer_is_learned_up_to_its_end_and_the_prompt_is_not() -> None:
    row = encode(Example((Message(role="user", content="cards A"),), "11"), TOKENIZER)
    assert TOKENIZER.decode(list(row.input_ids[: row.n_prompt])) == "<|user|>cards A<|assistant|>"
    assert TOKENIZER.decode(list(row.input_ids[row.n_prompt :])) == "11<|end|>"


@pytest.mark.parametrize("special", ["<|end|>", "<|user|>"])
def test_role_marks_are_single_tokens(special: str) -> None:
    assert len(TOKENIZER.tokenize(special)) == 1
