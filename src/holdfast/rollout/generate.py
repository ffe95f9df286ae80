"""Answers in batches, in an order that suits the machine, returned in the order of the questions.

Rows are sorted by length, padded on the left, and given to Transformers' plain ``generate``. When three quarters of a
batch have ended, the rest is handed back and goes on in a fuller batch, from its prompt and what it has said so far; so
one long-winded answer does not keep hundreds of finished rows computing.

What is guaranteed: in float32, greedy answers depend on neither batch size, nor order, nor neighbors, up to rounding
(about 1e-6 in the logits, so a token changes only where two candidates are that close). Sampled answers are as
independent, because each row draws from its own stream (`holdfast.rollout.sampling`): a token changes only where the
row's uniform number falls within rounding of a boundary. In bfloat16 rounding is 1e-2, and some answers do flip with
the batch size and with what a batch's prompts share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from holdfast.data.batches import SharePrefixes
from holdfast.data.encode import Encoded, questions, stop_ids
from holdfast.data.pictures import Span, image_inputs, tokenizer_of
from holdfast.errors import DataError
from holdfast.models.compute import compute
from holdfast.models.modes import evaluating
from holdfast.models.ranks import ALONE, Ranks
from holdfast.recipe import Decoding
from holdfast.records import Message
from holdfast.rollout.prefill import Prefill
from holdfast.rollout.sampling import InverseCDF, streams

HANDED_BACK = 4
"""A batch ends when at most one row of this many is still talking …"""
SMALL = 16
"""… unless it is smaller than this: then restarting costs more than it saves."""

Progress = Callable[[int, int], None]
"""Hears (answers ended, answers asked for)."""


class Reply(NamedTuple):
    """One answer.

    Attributes:
        text: Without the tokens that end it.
        n_tokens: Generated tokens, the ending one included.
        finished: Whether the model ended it; False if it was cut off at ``max_new_tokens`` or the model's positions.
        token_ids: What was generated, token by token: encoding ``text`` again may part it differently.
    """

    text: str
    n_tokens: int
    finished: bool
    token_ids: tuple[int, ...] = ()


def generate(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[Sequence[Message]],
    decoding: Decoding,
    *,
    batch_size: int,
    compute_dtype: torch.dtype,
    seed: int = 0,
    progress: Progress | None = None,
    ranks: Ranks = ALONE,
) -> list[Reply]:
    """Let the model answer each conversation once; see the module for what the answers do not depend on.

    The prompt is `holdfast.data.encode.questions`: bit for bit what training asks. The checkpoint's own generation
    settings are not used. Model, modes and global random state are left as they were.

    Args:
        model: A Transformers model that can ``generate``, on any device.
        tokenizer: Its tokenizer, or its processor where there are pictures.
        conversations: Each ends with what is to be answered. For several samples, repeat it.
        decoding: Greedy at temperature 0. ``samples`` is the caller's business: it is not read here.
        batch_size: Rows at a time.
        compute_dtype: See `holdfast.models.compute.compute`.
        seed: Of the samples; greedy answers do not depend on it.
        progress: Called after each batch.
        ranks: Share the batches, and all return all answers: the same ones that one process gives, since each batch is
            the same. Every rank calls with the same arguments, and has the whole model.

    Raises:
        DataError: a conversation cannot be rendered, or leaves no room for an answer within the model's positions.
    """
    return generate_from(
        model, tokenizer, questions(tokenizer, conversations), decoding,
        batch_size=batch_size, compute_dtype=compute_dtype, seed=seed, progress=progress, ranks=ranks,
    )  # fmt: skip


def generate_from(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Encoded],
    decoding: Decoding,
    *,
    batch_size: int,
    compute_dtype: torch.dtype,
    seed: int = 0,
    progress: Progress | None = None,
    share: SharePrefixes = "auto",
    ranks: Ranks = ALONE,
) -> list[Reply]:
    """As `generate`, from prompts that are encoded already; what they may hold beyond the prompt is not read.

    Args:
        share: Whether prompts that begin alike compute that beginning once: ``auto`` where it pays and is exact.

    Raises:
        UserError: ``share`` is ``always``, and the model cannot share prefixes exactly.
    """
    if not prompts:
        return []
    limit = positions(model)
    rows = [
        _Row(number, prompt, room(number, prompt.n_prompt, decoding.max_new_tokens, limit), stream)
        for number, (prompt, stream) in enumerate(zip(prompts, streams(prompts, seed=seed), strict=True))
    ]
    stops = stop_ids(tokenizer)
    pad = next((t for t in (tokenizer_of(tokenizer).pad_token_id, *stops) if t is not None), 0)
    pending = list(rows)
    with _answering(model):
        ordered = sorted(rows, key=lambda row: -row.length)
        cuts = [[row.tokens for row in ordered[at : at + batch_size]] for at in range(0, len(rows), batch_size)]
        pictured = any(row.asked.pictures for row in rows)
        prefill = Prefill.of(model, cuts, share="never" if pictured else share, dtype=compute_dtype)
        while pending:
            # Longest first, so that a batch that does not fit into memory is met at once.
            pending.sort(key=lambda row: (-row.length, row.number))
            batches = [pending[start : start + batch_size] for start in range(0, len(pending), batch_size)]

            def talk(batch: Sequence[_Row]) -> _Talk:
                with compute(model, compute_dtype):
                    cache = prefill.cache([row.tokens for row in batch], pad_token_id=pad)
                    talk = _continue(model, batch, decoding, stops=stops, pad=pad, limit=limit, cache=cache)
                if progress is not None:
                    progress(sum(row.ended for row in rows), len(rows))
                return talk

            for number, heard in enumerate(ranks.dealt(batches, talk)):
                if number % ranks.count != ranks.index:
                    _hear_of(batches[number], _Talk(*heard), stops)
            pending = [row for row in pending if not row.ended]
    texts = spoken(tokenizer, [row.said for row in rows])
    return [Reply(text, len(row.said), row.finished, tuple(row.said)) for text, row in zip(texts, rows, strict=True)]


def spoken(tokenizer: Any, answers: Sequence[Sequence[int]]) -> list[str]:
    """Return answers as text: up to the first token that ends an answer, without special tokens, else unchanged."""
    stops = stop_ids(tokenizer)
    ends = [next((place for place, t in enumerate(answer) if t in stops), len(answer)) for answer in answers]
    texts = tokenizer_of(tokenizer).batch_decode(
        [list(answer[:end]) for answer, end in zip(answers, ends, strict=True)],
        skip_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )
    return list(texts)


def positions(model: Any) -> int | None:
    """Return how many positions the model's configuration declares; None if it declares none (state-space models)."""
    config = model.config.get_text_config()
    name = config.attribute_map.get("max_position_embeddings", "max_position_embeddings")
    declared = config.to_dict().get(name)
    return None if declared is None else int(declared)


@dataclass
class _Row:
    """An answer in the making."""

    number: int
    asked: Encoded
    cap: int
    stream: Random
    said: list[int] = field(default_factory=list)
    finished: bool = False

    @property
    def length(self) -> int:
        return self.asked.n_prompt + len(self.said)

    @property
    def tokens(self) -> list[int]:
        return [*self.asked.prompt_ids, *self.said]

    @property
    def left(self) -> int:
        return self.cap - len(self.said)

    @property
    def ended(self) -> bool:
        return self.finished or not self.left

    def hear(self, tokens: Sequence[int], stops: Sequence[int]) -> None:
        for token in tokens[: self.left]:
            self.said.append(token)
            if token in stops:
                self.finished = True
                return


class _Talk(NamedTuple):
    """What came of a batch, for those who did not compute it: tokens by row, and the numbers that each row drew."""

    said: Sequence[Sequence[int]]
    draws: int


def _hear_of(batch: Sequence[_Row], talk: _Talk, stops: Sequence[int]) -> None:
    for row, tokens in zip(batch, talk.said, strict=True):
        row.hear(tokens, stops)
        for _ in range(talk.draws):
            row.stream.random()


class _Enough(StoppingCriteria):  # type: ignore[misc]  # Transformers ships no types
    """Stop once at most ``talking`` rows go on; ``length`` tells at which length that was.

    Args:
        stops_S: Tokens that end an answer.
        ends_B: Length at which each row has used up its cap.
        talking: See above.
    """

    def __init__(self, stops_S: Tensor, ends_B: Tensor, *, talking: int) -> None:
        self.stops_S, self.ends_B, self.talking = stops_S, ends_B, talking
        self.stopped_B = torch.zeros_like(ends_B, dtype=torch.bool)
        self.length: int | None = None

    def __call__(self, input_ids: Tensor, *_: Any, **__: Any) -> Tensor:
        length = input_ids.shape[1]
        self.stopped_B |= torch.isin(input_ids[:, -1], self.stops_S)
        if self.length is None and int((~self.stopped_B & (self.ends_B > length)).sum()) <= self.talking:
            self.length = length
        return torch.full_like(self.stopped_B, self.length is not None)


def _continue(
    model: Any,
    batch: Sequence[_Row],
    decoding: Decoding,
    *,
    stops: Sequence[int],
    pad: int,
    limit: int | None,
    cache: DynamicCache | None,
) -> _Talk:
    """Let the rows of one batch talk on until most have ended; each may end, or be handed back having said more.

    ``cache`` holds keys and values of all but each row's last token; None: Transformers computes them.
    """
    device = next(model.parameters()).device
    longest = max(row.length for row in batch)
    input_ids_BT = torch.full((len(batch), longest), pad, dtype=torch.int64)
    attention_mask_BT = torch.zeros((len(batch), longest), dtype=torch.int64)
    for place, row in enumerate(batch):
        input_ids_BT[place, longest - row.length :] = torch.tensor(row.tokens)
        attention_mask_BT[place, longest - row.length :] = 1
    shown = image_inputs(
        [row.asked.pictured for row in batch],
        [row.asked.prompt_ids for row in batch],
        [Span(longest - row.length, longest) for row in batch],
        width=longest,
    )
    enough = _Enough(
        torch.tensor(stops, dtype=torch.int64, device=device),
        torch.tensor([longest + row.left for row in batch], device=device),
        talking=len(batch) // HANDED_BACK if len(batch) >= SMALL else 0,
    )
    # No row may pass the model's last position; the others are handed back and go on in the next round.
    new = max(row.left for row in batch)
    new = new if limit is None else min(new, limit - longest)
    processors = LogitsProcessorList()
    if decoding.temperature > 0:
        own = [row.stream for row in batch]
        processors.append(InverseCDF(own, temperature=decoding.temperature, top_p=decoding.top_p))
    output_BT = model.generate(
        input_ids=input_ids_BT.to(device),
        attention_mask=attention_mask_BT.to(device),
        **{name: value.to(device) for name, value in shown.items()},
        **({} if cache is None else {"past_key_values": cache}),
        generation_config=_settings(max_new_tokens=new, pad=pad),
        logits_processor=processors,
        stopping_criteria=StoppingCriteriaList([enough]),
        synced_gpus=False,  # ranks answer different batches, each with the whole model
    )
    said = output_BT[:, longest : enough.length].tolist()
    for row, tokens in zip(batch, said, strict=True):
        row.hear(tokens, stops)
    return _Talk(said, output_BT.shape[1] - longest if processors else 0)


def _settings(*, max_new_tokens: int, pad: int) -> GenerationConfig:
    return GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, use_cache=True, pad_token_id=pad
    )


@contextmanager
def _answering(model: Any) -> Iterator[None]:
    """Eval mode and neutral generation settings inside; every module's mode and the model's own settings afterwards."""
    settings = model.generation_config
    with evaluating(model):
        try:
            # Transformers fills what a call leaves open from the model's own settings (a published checkpoint may say
            # temperature 0.6 or repetition_penalty 1.1), so those are set aside, not just overridden.
            model.generation_config = GenerationConfig()
            yield
        finally:
            model.generation_config = settings


def room(number: int, prompt: int, max_new_tokens: int, limit: int | None) -> int:
    """Return how many tokens the answer to a prompt of ``prompt`` tokens may have; ``number`` names the conversation.

    Raises:
        DataError: there is no prompt, or no room within ``limit`` positions.
    """
    if not prompt:
        raise DataError(f"conversation {number} has no tokens: there is nothing to answer")
    if limit is None or prompt + max_new_tokens <= limit:
        return max_new_tokens
    if prompt >= limit:
        raise DataError(
            f"conversation {number} has {prompt} tokens, and the model {limit} positions: no room for an answer"
        )
    return limit - prompt
