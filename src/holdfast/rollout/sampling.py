"""Sampling in which each answer has a random stream of its own.

Drawing from one generator for a whole batch makes an answer depend on its neighbors. Here each row owns a generator
seeded by (seed, its prompt and pictures, its number among equal ones), and spends exactly one uniform number a token.

Shapes: ``B`` rows, ``V`` vocabulary.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor
from transformers import LogitsProcessor

from holdfast.data.encode import Encoded


def streams(prompts: Sequence[Encoded], *, seed: int) -> list[Random]:
    """Return one generator a prompt; equal prompts are told apart by counting them, nothing else depends on order."""
    seen: Counter[str] = Counter()
    made = []
    for prompt in prompts:
        # Hands that differ in their pictures alone are asked in the same words.
        shown = "".join(json.dumps(picture.to_json(), sort_keys=True) for picture in prompt.pictures)
        name = hashlib.sha256((",".join(map(str, prompt.prompt_ids)) + shown).encode()).hexdigest()
        made.append(Random(f"holdfast sample {seed} {name} {seen[name]}"))
        seen[name] += 1
    return made


class InverseCDF(LogitsProcessor):  # type: ignore[misc]  # Transformers ships no types
    """Choose each row's token by inverting its cumulative distribution at the row's own uniform number.

    Tokens are sorted by probability (softmax of logits / temperature, float32) and cut to the nucleus: the fewest that
    hold ``top_p`` of the mass. The processor leaves only the chosen token finite, so a greedy loop takes it.

    Args:
        temperature: Above 0.
        top_p: In (0, 1]; 1 keeps all tokens.
        streams: One generator a row, in the order of the batch.
    """

    def __init__(self, streams: Sequence[Random], *, temperature: float, top_p: float) -> None:
        self.streams, self.temperature, self.top_p = streams, temperature, top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002  (Transformers' signature)
        """Return (B, V) scores: 0 for the drawn token, -inf elsewhere."""
        p_BV, token_BV = (scores.float() / self.temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
        mass_BV = p_BV.cumsum(-1)
        kept_B = ((mass_BV - p_BV) < self.top_p).sum(-1)
        total_B = mass_BV.gather(-1, kept_B[:, None] - 1)[:, 0]
        uniform_B = torch.tensor([stream.random() for stream in self.streams], device=scores.device)
        rank_B = torch.minimum((mass_BV <= (uniform_B * total_B)[:, None]).sum(-1), kept_B - 1)
        chosen_B1 = token_BV.gather(-1, rank_B[:, None])
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen_B1, 0.0)
