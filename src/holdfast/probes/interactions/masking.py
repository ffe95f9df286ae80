"""What stands in the place of a masked word.

A masked word keeps its places: the model reads another vector there (or reads nothing, `attention`), and neither the
length of the prompt nor any position changes. The vector is made from the *base* once and kept for the whole run, so
that training moves what is asked and not what it is asked with.

============= ===========================================================================================
``token``     the base's embedding of one token that says nothing: a mask token, a reserved one, unknown, padding
``mean``      the mean of the base's embeddings
``learned``   a vector under which words interact least (`holdfast.probes.interactions.learned_blank`)
``attention`` no later token attends to the word; it does not reach what comes after it at all
============= ===========================================================================================

Shapes: ``H`` width of the embeddings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.data.pictures import tokenizer_of
from holdfast.errors import ModelError, UserError
from holdfast.probes.interactions.asking import Masking

_UNUSED = re.compile(r"reserved|unused|extra_id|fim_pad|filler", re.IGNORECASE)


@dataclass(frozen=True)
class Blank:
    """What stands there.

    Attributes:
        masking: How.
        vector_H: In the place of the embedding; None for ``attention``.
        words: What it is, for logs.
    """

    masking: Masking
    vector_H: Tensor | None
    words: str


def blank_token(speaker: Any, token: str | None = None, *, rows: int | None = None) -> str:
    """Return the token that says nothing: a mask token, a reserved one, the unknown one, the padding.

    Args:
        speaker: A tokenizer or a processor.
        token: One to be used instead.
        rows: Of the table of embeddings: tokenizers may know tokens that the model has no vector for.

    Raises:
        UserError: ``token`` is not in the vocabulary, or there is none of these.
    """
    tokenizer = tokenizer_of(speaker)
    vocabulary = {name: number for name, number in tokenizer.get_vocab().items() if rows is None or number < rows}
    if token is not None:
        if token not in vocabulary:
            raise UserError(f"there is no token {token!r} with an embedding; name another, or leave the choice open")
        return token
    special = [added.content for _, added in sorted(tokenizer.added_tokens_decoder.items()) if added.special]
    reserved = [name for name in special if _UNUSED.search(name) and name in vocabulary]
    usual = (tokenizer.unk_token, tokenizer.pad_token, tokenizer.eos_token)
    for candidate in (tokenizer.mask_token, *reserved[:1], *usual):
        if candidate is not None and candidate in vocabulary:
            return str(candidate)
    raise UserError("the tokenizer has no mask, reserved, unknown, padding or end token: name a token to mask with")


def blank_of(masking: Masking, base: Any, speaker: Any, *, token: str | None = None) -> Blank:
    """Return the blank of a base model; ``learned`` needs prompts and is made elsewhere.

    Args:
        masking: ``token``, ``mean`` or ``attention``.
        base: The untrained model, on any device.
        speaker: Its tokenizer or processor.
        token: For ``token``, see `blank_token`.

    Raises:
        UserError: see `blank_token`, or the masking is another one.
        ModelError: the model has no embeddings.
    """
    if masking == "attention":
        return Blank(masking, None, "no attention to masked words")
    embeddings = embeddings_of(base)
    device = next(embeddings.parameters()).device
    with torch.no_grad():
        if masking == "token":
            name = blank_token(speaker, token, rows=embeddings.num_embeddings)
            number = tokenizer_of(speaker).convert_tokens_to_ids(name)
            vector = embeddings(torch.tensor([number], device=device))[0]
            return Blank(masking, vector.detach().float().clone(), f"the base's embedding of {name!r}")
        if masking == "mean":
            every = torch.arange(min(len(tokenizer_of(speaker)), embeddings.num_embeddings), device=device)
            mean = torch.stack([embeddings(some).double().sum(0) for some in torch.split(every, 4096)]).sum(0) / len(
                every
            )
            return Blank(masking, mean.float(), "the mean of the base's embeddings")
    raise UserError(
        f"masking {masking!r} is made of prompts (holdfast.probes.interactions.learned_blank), not of a model"
    )


def embeddings_of(model: Any) -> Any:
    """Return the module that turns tokens into vectors.

    Raises:
        ModelError: there is none.
    """
    module = model.get_input_embeddings()
    if not isinstance(module, nn.Embedding):
        raise ModelError(f"{type(model).__name__} has no table of input embeddings: its words cannot be masked")
    return module


class Cover:
    """Where words are masked in the calls that follow; see `covering`."""

    def __init__(self) -> None:
        self.where_BT: Tensor | None = None


@contextmanager
def covering(model: Any, vector_H: Tensor | None) -> Iterator[Cover]:
    """Inside, ``vector_H`` is read in place of the embeddings where the yielded cover says, of rows (B, T).

    The embedding module's own output is replaced, so whatever a model does beside looking tokens up still happens.
    """
    cover = Cover()

    def replace(_module: nn.Module, _args: tuple[Any, ...], output_BTH: Tensor) -> Tensor:
        if cover.where_BT is None or vector_H is None:
            return output_BTH
        blank = vector_H.to(output_BTH.device, output_BTH.dtype)
        return torch.where(cover.where_BT[..., None], blank, output_BTH)

    handle = embeddings_of(model).register_forward_hook(replace)
    try:
        yield cover
    finally:
        handle.remove()
