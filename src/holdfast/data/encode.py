"""From messages to tokens: the one place that renders a conversation, for training and for generation alike.

With a chat template, the prompt is ``template(messages, add_generation_prompt=True)`` and an example is
``template(messages + answer)``. The tokens of the prompt must be the first tokens of the example, so that what the
model is trained to continue is, token for token, what it is asked to continue at evaluation. Without a chat template,
a single user message is taken as it is: ``tokens(prompt) + tokens(completion) + end``. So is, under any tokenizer, a
prompt whose one message has the role `holdfast.records.RAW`.

Messages with pictures need a processor in the tokenizer's place; it brings its chat template. In the template a picture
is a placeholder before the text of its message, and in the prompt's tokens it is as many tokens as the processor gives
it. So the law above holds with pictures too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.data.chat import has_template, rendered
from holdfast.data.pictures import Pictured, processor_of, tokenizer_of
from holdfast.errors import DataError
from holdfast.records import RAW, Example, Message, Picture

SHOWN = 10
"""Faulty rows that one error names."""
BULK = 1024
"""Rows rendered and tokenized together."""


@dataclass(frozen=True)
class Encoded:
    """One row in tokens.

    Attributes:
        input_ids: Prompt and completion, with the tokens that end the turn.
        n_prompt: Number of leading tokens that are asked, not learned.
        pictured: The prompt as a processor takes it; None where a plain tokenizer encoded the row.
    """

    input_ids: tuple[int, ...]
    n_prompt: int
    pictured: Pictured | None = None

    @property
    def n_learned(self) -> int:
        """Number of tokens that carry loss."""
        return len(self.input_ids) - self.n_prompt

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures of the prompt."""
        return () if self.pictured is None else self.pictured.pictures

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """The tokens that are asked."""
        return self.input_ids[: self.n_prompt]


def prompt_ids(tokenizer: Any, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
    """Return the tokens of `questions`."""
    return [list(row.input_ids) for row in questions(tokenizer, conversations)]


def questions(tokenizer: Any, conversations: Sequence[Sequence[Message]]) -> list[Encoded]:
    """Return rows after which the model is to answer; the same function serves training and generation.

    Args:
        tokenizer: A Transformers tokenizer, or a processor where there are pictures.
        conversations: Each a non-empty list of messages.

    Raises:
        DataError: the chat template refuses a conversation, there is no template and it is more than one user turn, or
            there are pictures and no processor.
    """
    if not conversations:
        return []
    names = [f"conversation {number}" for number in range(len(conversations))]
    if _as_text(tokenizer, conversations):
        texts = [_plain(conversation, name) for name, conversation in zip(names, conversations, strict=True)]
        return [Encoded(tuple(ids), len(ids)) for ids in _tokens(tokenizer, texts, special=True)]
    texts = rendered(tokenizer, conversations, names, asks=True)
    asked = _pictured(tokenizer, texts, conversations)
    prompts = _widened(asked, _tokens(tokenizer, texts, special=False))
    return [Encoded(tuple(ids), len(ids), own) for ids, own in zip(prompts, asked, strict=True)]


def encode(example: Example, tokenizer: Any, *, max_length: int | None = None) -> Encoded:
    """Return the tokens of one example; see `encode_all`."""
    return encode_all([example], tokenizer, max_length=max_length)[0]


def encode_all(examples: Sequence[Example], tokenizer: Any, *, max_length: int | None = None) -> list[Encoded]:
    """Return the tokens of many examples.

    The learned tokens are the answer and what ends it: the template's end of turn, and the tokenizer's end token
    where the template writes none (a model that never learns to end would answer until it is cut off).

    Args:
        examples: Each with a non-empty prompt.
        tokenizer: A Transformers tokenizer, or a processor where there are pictures.
        max_length: Longest row in tokens, the model's positions at most; None sets no limit. No row is ever cut.

    Raises:
        DataError: a row is too long, the chat template refuses it, its prompt changes once the answer is known, or it
            has pictures and there is no processor. Up to ten rows are named.
    """
    stops = stop_ids(tokenizer)
    rows: list[Encoded] = []
    for start in range(0, len(examples), BULK):
        part = examples[start : start + BULK]
        text = _as_text(tokenizer, [example.prompt for example in part])
        rows += _without(part, tokenizer) if text else _with_template(part, tokenizer, stops)
    _refuse_long(examples, rows, max_length)
    return rows


def stop_ids(tokenizer: Any) -> tuple[int, ...]:
    """Return the tokens that end an answer: the tokenizer's end token, and the one that ends the template's turn.

    They differ, for example, where a base tokenizer (end of text) carries a chat template (end of turn).
    """
    own = tokenizer_of(tokenizer)
    stops = [] if own.eos_token_id is None else [int(own.eos_token_id)]
    if has_template(tokenizer):
        turn = _end_of_turn(tokenizer)
        special = {number for number, token in own.added_tokens_decoder.items() if token.special}
        stops += [token for token in turn if token in special][:1]
    return tuple(dict.fromkeys(stops))


def preview(encoded: Encoded, tokenizer: Any) -> str:
    """Return one row as text in which the learned part stands between ``⟦`` and ``⟧``, to be read before training."""
    own = tokenizer_of(tokenizer)
    masked = own.decode(list(encoded.input_ids[: encoded.n_prompt]), clean_up_tokenization_spaces=False)
    learned = own.decode(list(encoded.input_ids[encoded.n_prompt :]), clean_up_tokenization_spaces=False)
    shown = "".join(f"[picture: {picture.words()}]\n" for picture in encoded.pictures)
    return (
        f"{shown}{masked}⟦{learned}⟧\n({encoded.n_prompt} tokens are asked and carry no loss; "
        f"{encoded.n_learned} between ⟦ and ⟧ are learned)"
    )


def _with_template(examples: Sequence[Example], tokenizer: Any, stops: Sequence[int]) -> list[Encoded]:
    names = [example.source or "a row" for example in examples]
    asked = rendered(tokenizer, [example.prompt for example in examples], names, asks=True)
    whole = [(*example.prompt, Message(role="assistant", content=example.completion)) for example in examples]
    answered = rendered(tokenizer, whole, names, asks=False)
    prompts = _tokens(tokenizer, asked, special=False)
    fulls = _tokens(tokenizer, answered, special=False)
    pictured = _pictured(tokenizer, asked, [example.prompt for example in examples])
    rows = []
    for number, (prompt, full, wide) in enumerate(zip(prompts, fulls, _widened(pictured, prompts), strict=True)):
        if full[: len(prompt)] != prompt:
            raise DataError(f"{names[number]}: {_why_no_prefix(asked[number], answered[number])}")
        if stops and not set(stops) & set(full[len(prompt) :]):
            full = [*full, stops[0]]
        if len(full) == len(prompt):
            raise DataError(f"{names[number]}: the chat template renders the answer as nothing")
        # All pictures are in the prompt, which ends at a border of tokens: what follows is the same without them.
        rows.append(Encoded((*wide, *full[len(prompt) :]), len(wide), pictured[number]))
    return rows


def _without(examples: Sequence[Example], tokenizer: Any) -> list[Encoded]:
    end = tokenizer_of(tokenizer).eos_token_id
    if end is None:
        raise DataError("the tokenizer has neither a chat template nor an end token; set tokenizer.eos_token")
    asked = [_plain(example.prompt, example.source or "a row") for example in examples]
    prompts = _tokens(tokenizer, asked, special=True)
    answers = _tokens(tokenizer, [example.completion for example in examples], special=False)
    return [Encoded((*prompt, *answer, end), len(prompt)) for prompt, answer in zip(prompts, answers, strict=True)]


def _pictured(
    tokenizer: Any, texts: Sequence[str], conversations: Sequence[Sequence[Message]]
) -> Sequence[Pictured | None]:
    processor = processor_of(tokenizer)
    if processor is None:
        return [None] * len(texts)
    shown = [tuple(picture for message in own for picture in message.get("images", ())) for own in conversations]
    return [Pictured(text, pictures, processor) for text, pictures in zip(texts, shown, strict=True)]


def _widened(prompts: Sequence[Pictured | None], plain: Sequence[list[int]]) -> list[list[int]]:
    """Return the tokens of each prompt, widened where it has pictures."""
    return [
        ids if prompt is None or not prompt.pictures else prompt.token_ids()
        for prompt, ids in zip(prompts, plain, strict=True)
    ]


def _tokens(tokenizer: Any, texts: list[str], *, special: bool) -> list[list[int]]:
    if not texts:
        return []
    # Lengths beyond model_max_length are judged by `encode_all` and `rollout`, with the row's name.
    ids = tokenizer_of(tokenizer)(texts, add_special_tokens=special, return_attention_mask=False, verbose=False)[
        "input_ids"
    ]
    return [list(row) for row in ids]


def _as_text(tokenizer: Any, conversations: Sequence[Sequence[Message]]) -> bool:
    """Whether prompts are tokenized as they are written: without a chat template, or because they say so."""
    raw = sum(conversation[0]["role"] == RAW for conversation in conversations)
    if 0 < raw < len(conversations):
        raise DataError(f"{raw} of {len(conversations)} prompts are raw text; they cannot be asked together with chats")
    return raw > 0 or not has_template(tokenizer)


def _plain(conversation: Sequence[Message], name: str) -> str:
    if conversation[0]["role"] == RAW:
        if len(conversation) > 1:
            raise DataError(f"{name}: a raw prompt stands alone, and {len(conversation) - 1} messages follow it")
        return conversation[0]["content"]
    if len(conversation) != 1 or conversation[0]["role"] != "user":
        roles = ", ".join(message["role"] for message in conversation)
        raise DataError(
            f"{name}: the tokenizer has no chat template, so only a single user message can be asked (found: {roles}); "
            "use an instruct model's tokenizer or set tokenizer.chat_template"
        )
    if conversation[0].get("images"):
        raise DataError(f"{name} has a picture, and the model has no chat template that says where pictures stand")
    return conversation[0]["content"]


def _end_of_turn(tokenizer: Any) -> list[int]:
    """Tokens that the template writes after an answer."""
    answer = "holdfast"
    talk = [Message(role="user", content="?"), Message(role="assistant", content=answer)]
    try:
        (text,) = rendered(tokenizer, [talk], ["a plain talk"], asks=False)
    except DataError:
        return []  # a template that refuses so plain a talk is judged on the real rows
    return _tokens(tokenizer, [text.rpartition(answer)[2]], special=False)[0]


def _why_no_prefix(asked: str, answered: str) -> str:
    if answered.startswith(asked):
        return (
            "the last token of the prompt and the first of the answer melt into one token "
            f"(the prompt ends in {asked[-20:]!r}), so generation would not see what was trained; "
            "end the template's generation prompt with a special token or a line break"
        )
    same = next((n for n, (a, b) in enumerate(zip(asked, answered, strict=False)) if a != b), len(answered))
    return (
        "the chat template renders the prompt differently once the answer is known, so generation would not see what "
        f"was trained: {asked[max(0, same - 20) : same + 20]!r} became {answered[max(0, same - 20) : same + 20]!r}"
    )


def _refuse_long(examples: Sequence[Example], rows: Sequence[Encoded], max_length: int | None) -> None:
    if max_length is None:
        return
    long = [
        f"  {example.source or 'a row'}: {len(row.input_ids)} tokens ({row.n_learned} of them learned)"
        for example, row in zip(examples, rows, strict=True)
        if len(row.input_ids) > max_length
    ]
    if long:
        more = [f"  … and {len(long) - SHOWN} more"] if len(long) > SHOWN else []
        head = f"{len(long)} of {len(rows)} rows are longer than max_length {max_length}; no row is ever cut"
        raise DataError("\n".join([head, *long[:SHOWN], *more, "Raise max_length, or shorten or remove these rows."]))
