"""Conversations as text, by the model's own chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2

from holdfast.data.pictures import processor_of, tokenizer_of
from holdfast.errors import DataError
from holdfast.records import Message

FIXED_DATE = "26 Jul 2024"
"""Llama 3 templates print today's date unless told one; a prompt must not change overnight. It is their own default."""


def has_template(tokenizer: Any) -> bool:
    """Return whether there is a chat template."""
    return _processors_template(tokenizer) is not None or tokenizer_of(tokenizer).chat_template is not None


def rendered(
    tokenizer: Any, conversations: Sequence[Sequence[Message]], names: Sequence[str], *, asks: bool
) -> list[str]:
    """Return each conversation as the chat template writes it; a picture is a placeholder before its message's text.

    Args:
        tokenizer: A Transformers tokenizer with a chat template, or a processor.
        conversations: Each a non-empty list of messages.
        names: Of the conversations, for error messages.
        asks: Whether what begins an answer is written too.

    Raises:
        DataError: the template refuses a conversation, or there are pictures and no processor.
    """

    def render(some: list[list[dict[str, Any]]]) -> list[str]:
        return list(_apply(tokenizer, some, asks=asks))

    parts = processor_of(tokenizer) is not None and not _takes_strings(tokenizer)
    whole = [
        [_as_template_takes(message, tokenizer, name, parts=parts) for message in conversation]
        for name, conversation in zip(names, conversations, strict=True)
    ]
    try:
        return render(whole)
    except (jinja2.TemplateError, ValueError, TypeError) as fault:
        for name, conversation in zip(names, whole, strict=True):
            try:
                render([conversation])
            except (jinja2.TemplateError, ValueError, TypeError) as own:
                raise DataError(f"{name}: the tokenizer's chat template refuses it: {own}") from own
        raise DataError(f"the tokenizer's chat template refuses the rows: {fault}") from fault


def _apply(tokenizer: Any, conversations: list[list[dict[str, Any]]], *, asks: bool) -> Any:
    return tokenizer_of(tokenizer).apply_chat_template(
        conversations,
        chat_template=_processors_template(tokenizer),
        tokenize=False,
        add_generation_prompt=asks,
        date_string=FIXED_DATE,
    )


def _processors_template(tokenizer: Any) -> str | None:
    """The processor's own template if it has one, for its tokenizer's may not know pictures; None: the tokenizer's."""
    processor = processor_of(tokenizer)
    return processor.chat_template if processor is not None and isinstance(processor.chat_template, str) else None


def _as_template_takes(message: Message, tokenizer: Any, name: str, *, parts: bool) -> dict[str, Any]:
    """Return role and content: a string, or a list of parts where there are pictures or the template knows no other."""
    pictures = message.get("images", ())
    if pictures and processor_of(tokenizer) is None:
        raise DataError(
            f"{name} has a picture, which a tokenizer alone cannot take: use a vision-language model whose folder "
            "holds a processor (preprocessor_config.json)"
        )
    if not pictures and not parts:
        return {"role": message["role"], "content": message["content"]}
    text = {"type": "text", "text": message["content"]}
    return {"role": message["role"], "content": [*({"type": "image"} for _ in pictures), text]}


def _takes_strings(tokenizer: Any) -> bool:
    """Whether the template writes a message whose content is a string (those of some processors read parts only)."""
    word = "holdfast"
    try:
        (text,) = _apply(tokenizer, [[{"role": "user", "content": word}]], asks=False)
    except (jinja2.TemplateError, ValueError, TypeError):
        return False
    return word in text
