"""How like a tuned model's hidden states are to the base's, block by block, where answers begin.

Each prompt of a recipe's suites is asked, and the state of its last token is kept after the embedding and after every
block: one vector a prompt, the one from which the answer is told. Two numbers compare the base's and the tuned model's:

- the cosine of the two vectors of a prompt, averaged over prompts. It is near 1 wherever a few large dimensions or a
  common mean dominate, as they do in most language models;
- linear centered kernel alignment (Kornblith et al. 2019) of the two clouds of vectors, with the unbiased estimate of
  the Hilbert–Schmidt independence criterion (Song et al. 2012), since the usual one is near 1 for any two clouds of
  fewer points than dimensions. It ignores rotation and scale of the whole space, and is 0 for unrelated states.

Shapes: ``N`` prompts, ``H`` hidden width, ``L`` blocks and the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from holdfast.data.batches import collate
from holdfast.data.encode import Encoded, questions
from holdfast.data.pictures import tokenizer_of
from holdfast.diagnose.spectral import Tuned
from holdfast.errors import DataError, UserError
from holdfast.evaluate.suite import make_all
from holdfast.models.compute import compute, dtype_named
from holdfast.models.load import Loaded, load
from holdfast.models.modes import evaluating
from holdfast.recipe import Recipe
from holdfast.report.spectral_profile import Likeness
from holdfast.statistics import cluster_bootstrap

MOST_PROMPTS = 256
"""Of each suite."""
FEWEST_FOR_CKA = 4


def hidden_likeness(
    recipe: Recipe,
    base: str,
    tuned: Sequence[Tuned],
    *,
    device: torch.device | str = "cpu",
    allow_code: bool = False,
    said: Callable[[str], None] = print,
) -> tuple[Likeness, ...]:
    """Ask the base and each tuned model the prompts of a recipe's suites; one model is in memory at a time.

    Args:
        recipe: Its suites say what is asked; its dtypes and batch size how.
        base, tuned: The models.
        device: Where they run.
        allow_code: Whether the recipe may name outside code.
        said: Hears of each model.

    Raises:
        UserError: the recipe has no suites.
        DataError: a model has another vocabulary than the base.
        ModelNotFound, ModelError: a model cannot be loaded.
    """
    suites = make_all(recipe, allow_code=allow_code)
    if not suites:
        raise UserError("--hidden asks the prompts of a recipe's suites, and this recipe has none")
    asked = {suite.name: suite.steps()[:MOST_PROMPTS] for suite in suites}
    keys = {name: [problem.key for _, problem in steps] for name, steps in asked.items()}
    loaded = load(base, dtype=recipe.dtype, attn_implementation=recipe.attn_implementation)
    prompts = {
        suite.name: questions(loaded.speaker, [suite.environment.prompt(step) for _, step in asked[suite.name]])
        for suite in suites
    }
    vocabulary = tokenizer_of(loaded.speaker).get_vocab()
    said(f"{base}: hidden states of {sum(map(len, prompts.values())):,} prompts")
    before = {name: _states(loaded, rows, recipe, device) for name, rows in prompts.items()}
    found = []
    for one in tuned:
        loaded = load(one.place, dtype=recipe.dtype, attn_implementation=recipe.attn_implementation)
        if tokenizer_of(loaded.speaker).get_vocab() != vocabulary:
            raise DataError(f"{one.name} has another vocabulary than {base}: it cannot be asked the same prompts")
        said(f"{one.name}: hidden states")
        for name, rows in prompts.items():
            found += _likeness(one.name, name, keys[name], before[name], _states(loaded, rows, recipe, device))
    return tuple(found)


def cka(one_NH: Tensor, other_NH: Tensor) -> float | None:
    """Return linear centered kernel alignment with unbiased estimates; None of fewer than four points or no variation.

    Args:
        one_NH, other_NH: States of the same prompts; widths may differ.

    Reference: Kornblith et al. 2019, https://arxiv.org/abs/1905.00414; the unbiased estimate is that of Song et al.
    2012 (https://jmlr.org/papers/v13/song12a.html), eq. 5.
    """
    if len(one_NH) < FEWEST_FOR_CKA:
        return None
    first, second = _gram(one_NH), _gram(other_NH)
    scale = _hsic(first, first) * _hsic(second, second)
    return float(_hsic(first, second) / scale.sqrt()) if scale > 0 else None


def _gram(states_NH: Tensor) -> Tensor:
    centered = states_NH.double() - states_NH.double().mean(0)
    return (centered @ centered.T).fill_diagonal_(0)


def _hsic(first_NN: Tensor, second_NN: Tensor) -> Tensor:
    """Return the unbiased estimate from two Gram matrices without their diagonals, up to a constant factor."""
    n = len(first_NN)
    crossed = (first_NN * second_NN).sum()
    means = first_NN.sum() * second_NN.sum() / ((n - 1) * (n - 2))
    rows = 2 / (n - 2) * (first_NN.sum(0) @ second_NN.sum(0))
    return crossed + means - rows


def _states(loaded: Loaded, rows: Sequence[Encoded], recipe: Recipe, device: torch.device | str) -> Tensor:
    """Return the states of the last token of each prompt, (L, N, H), float32, on the CPU."""
    model = loaded.model.to(device)
    stored = next(model.parameters()).dtype
    dtype = stored if recipe.compute_dtype == "auto" else dtype_named(recipe.compute_dtype)
    pad = tokenizer_of(loaded.speaker).pad_token_id or 0
    size = recipe.per_device_eval_batch_size
    parts = []
    with evaluating(model), torch.no_grad(), compute(model, dtype):
        for at in range(0, len(rows), size):
            batch = collate(rows[at : at + size], pad_token_id=pad).to(device)
            inputs = {name: value for name, value in batch.tensors().items() if name != "labels"}
            told = model(**inputs, output_hidden_states=True, use_cache=False).hidden_states
            last = batch.attention_mask.sum(1) - 1
            number = torch.arange(len(last), device=last.device)
            parts.append(torch.stack([layer[number, last].float().cpu() for layer in told]))
    return torch.cat(parts, dim=1)


def _likeness(
    checkpoint: str, suite: str, keys: Sequence[str], before_LNH: Tensor, after_LNH: Tensor
) -> list[Likeness]:
    if before_LNH.shape != after_LNH.shape:
        raise DataError(f"{checkpoint} has hidden states {tuple(after_LNH.shape)}, the base {tuple(before_LNH.shape)}")
    cosines_LN = torch.cosine_similarity(before_LNH.double(), after_LNH.double(), dim=2)
    return [
        Likeness(
            checkpoint, suite, layer,
            cosine=cluster_bootstrap(cosines_LN[layer].tolist(), list(keys), seed=0),
            cka=cka(before_LNH[layer], after_LNH[layer]),
        )
        for layer in range(len(before_LNH))
    ]  # fmt: skip
