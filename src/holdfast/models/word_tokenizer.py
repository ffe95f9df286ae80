"""A tokenizer made of the words of given texts plus all 256 bytes: short rows for known worlds, any UTF-8 for the rest.

A word of the vocabulary is one token, with and without the space before it; every other word falls apart into bytes, so
that decoding gives back any text exactly. This is a byte-level BPE without merges: a file that every Transformers
version loads, with no code of ours in it.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
"""Padding, end of an answer, and the three roles of the chat template."""

_PIECE = r" ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]|\s"

_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def build(texts: Iterable[str], *, numbers: int = 100, positions: int = 2048) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose words are those of ``texts``.

    Args:
        texts: Where words are collected; their order does not matter.
        numbers: 0 … ``numbers`` - 1 are words, with and without a space before them.
        positions: ``model_max_length``.
    """
    split = pre_tokenizers.Split(Regex(_PIECE), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pieces: set[str] = set()
    for text in [*texts, *(f"{n} {n}" for n in range(numbers))]:
        for word, _ in split.pre_tokenize_str(text):
            bare = word.strip(" ")
            pieces.update((bare, " " + bare) if bare else (word,))
    words = {to_bytes.pre_tokenize_str(piece)[0][0] for piece in pieces if piece}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ordered = [*SPECIAL, *alphabet, *sorted(words - set(alphabet))]
    vocabulary = {token: number for number, token in enumerate(ordered)}
    # `ignore_merges` looks a whole piece up before it is cut into bytes; without merges, bytes stay bytes.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",  # noqa: S106  (tokens of a vocabulary, no secrets)
        eos_token="<|end|>",  # noqa: S106
        chat_template=_CHAT_TEMPLATE,
        model_max_length=positions,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
