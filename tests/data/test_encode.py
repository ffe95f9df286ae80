import pytest

from holdfast.data.encode import encode, encode_all, preview, prompt_ids, stop_ids
from holdfast.errors import DataError
from holdfast.models import word_tokenizer
from holdfast.records import Example, Message

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QUESTION = (Message(role="user", content="What is 2 + 2 ?"),)
EXAMPLE = Example(QUESTION, "It is 4 .", "my.jsonl:7")


def tokenizer(template: str | None = "own"):
    built = word_tokenizer.build(["What is the sum ? It is ."])
    if template == CHATML:
        built.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    if template != "own":
        built.chat_template = template
    return built


TEMPLATES = pytest.mark.parametrize("template", ["own", CHATML, None], ids=["pocket", "chatml", "no template"])


@TEMPLATES
def test_the_asked_tokens_are_what_generation_sees_bit_for_bit(template):
    tok = tokenizer(template)
    row = encode(EXAMPLE, tok)
    (asked,) = prompt_ids(tok, [QUESTION])
    assert list(row.input_ids[: row.n_prompt]) == asked


@TEMPLATES
def test_the_answer_and_its_end_are_learned_and_nothing_else(template):
    tok = tokenizer(template)
    row = encode(EXAMPLE, tok)
    learned = row.input_ids[row.n_prompt :]
    assert tok.decode(learned, skip_special_tokens=True).strip() == "It is 4 ."
    assert set(learned) & set(stop_ids(tok))


@TEMPLATES
def test_encoding_together_equals_encoding_one_by_one(template):
    tok = tokenizer(template)
    examples = [Example(QUESTION, f"It is {n} .") for n in range(20)]
    assert encode_all(examples, tok) == [encode(example, tok) for example in examples]


def test_the_end_of_turn_of_the_template_stops_an_answer_as_well_as_the_end_token():
    tok = tokenizer(CHATML)
    assert stop_ids(tok) == (tok.eos_token_id, tok.convert_tokens_to_ids("<|im_end|>"))


def test_without_a_chat_template_the_row_is_prompt_completion_end():
    tok = tokenizer(None)
    row = encode(EXAMPLE, tok)
    plain = tok("What is 2 + 2 ?")["input_ids"] + tok("It is 4 .")["input_ids"] + [tok.eos_token_id]
    assert list(row.input_ids) == plain


def test_without_a_chat_template_a_conversation_is_refused():
    talk = Example((*QUESTION, Message(role="assistant", content="4"), *QUESTION), "4", "my.jsonl:9")
    with pytest.raises(DataError, match=r"my\.jsonl:9: the tokenizer has no chat template.*user, assistant, user"):
        encode(talk, tokenizer(None))


def test_a_template_that_ends_nothing_gets_the_end_token():
    tok = tokenizer("{% for m in messages %}{{ m['content'] }}\n{% endfor %}")
    assert encode(EXAMPLE, tok).input_ids[-1] == tok.eos_token_id


def test_a_template_that_changes_the_prompt_once_the_answer_is_known_is_refused_with_the_reason():
    hides = "{% for m in messages %}{% if loop.last %}{{ m['content'] }}{% endif %}{% endfor %}<|end|>"
    with pytest.raises(DataError, match=r"my\.jsonl:7: the chat template renders the prompt differently") as caught:
        encode(EXAMPLE, tokenizer(hides))
    assert "What is 2" in str(caught.value)
    assert "It is" in str(caught.value)


def test_a_prompt_whose_last_token_melts_into_the_answer_is_refused():
    melts = (
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}\nAnswer: {% else %}{{ m['content'] }}"
        "<|end|>{% endif %}{% endfor %}"
    )
    with pytest.raises(DataError, match="melt into one token"):
        encode(EXAMPLE, tokenizer(melts))


def test_a_template_that_refuses_a_role_names_the_row():
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHATML
    bad = Example((Message(role="system", content="x"), *QUESTION), "4", "my.jsonl:2")
    with pytest.raises(DataError, match=r"my\.jsonl:2: .*no system role"):
        encode_all([EXAMPLE, bad], tokenizer(strict))


def test_a_row_that_is_too_long_is_named_and_never_cut():
    long = Example(QUESTION, "It is 4 . " * 20, "my.jsonl:8")
    with pytest.raises(DataError, match=r"1 of 2 rows are longer than max_length 30") as caught:
        encode_all([EXAMPLE, long], tokenizer(), max_length=30)
    assert "my.jsonl:8: " in str(caught.value)
    assert "my.jsonl:7" not in str(caught.value)


def test_a_prompt_does_not_depend_on_the_day():
    dated = (
        "{% if not date_string is defined %}{% set date_string = strftime_now('%d') %}{% endif %}{{ date_string }}"
        + CHATML
    )
    tok = tokenizer(dated)
    assert tok.decode(prompt_ids(tok, [QUESTION])[0]).startswith("26 Jul 2024")


def test_the_preview_marks_what_is_learned():
    tok = tokenizer()
    shown = preview(encode(EXAMPLE, tok), tok)
    assert shown.startswith("<|user|>What is 2 + 2 ?<|assistant|>⟦It is 4 .<|end|>⟧\n")


def test_any_text_survives_encoding_and_decoding():
    tok = tokenizer()
    strange = "naïve — 数 🂡 \t \x00 «J»"
    row = encode(Example(QUESTION, strange), tok)
    text = tok.decode(row.input_ids[row.n_prompt :], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert text == strange
