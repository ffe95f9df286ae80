"""Outputs of all masks: the tree of shared prefixes against whole rows, and both against arithmetic by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from holdfast.errors import DataError
from holdfast.probes.interactions.learned_blank import learned_blank
from holdfast.probes.interactions.masking import Blank
from holdfast.probes.interactions.measure import measure
from holdfast.probes.interactions.noise import numeric_noise
from holdfast.probes.interactions.outputs import log_odds, naive_tokens, reading, shared_tokens
from planted_games import tiny_game
from tiny_models import build

SPANS = [(2, 3), (5, 7), (8, 9), (11, 12), (12, 14)]
GAME = tiny_game(SPANS, tokens=15)
EVERY = (np.arange(32)[:, None] >> np.arange(5)) & 1 == 1
CLOSE = 1e-5
"""Outputs of these models differ by 0.1 and more from mask to mask."""


def loud(architecture: str) -> Any:
    """A tiny model with matrices ten times as large: words move its outputs."""
    model = build(architecture)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(10)
    return model


def blank(model: Any, token: int = 1) -> Blank:
    return Blank("token", model.get_input_embeddings().weight[token].detach().clone(), "token 1")


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2", "gemma2"])
def test_shared_prefixes_give_the_outputs_of_whole_rows(architecture: str) -> None:
    model = loud(architecture)
    with reading(model, blank(model), [GAME]) as reader:
        found = reader.all_masks(GAME)
        assert reader.shares
        assert np.allclose(found.values_M, reader.whole_rows(GAME, EVERY), atol=CLOSE)
    assert found.values_M.std() > 0.02
    assert found.tokens == shared_tokens(GAME) < naive_tokens(GAME) / 2


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2"])
def test_an_output_is_the_log_odds_that_the_model_gives_replaced_embeddings(architecture: str) -> None:
    model = loud(architecture)
    vector = blank(model).vector_H
    with reading(model, blank(model), [GAME]) as reader:
        found = reader.all_masks(GAME).values_M
    for mask in (0, 1, 0b10110, 31):
        embedded_1TH = model.get_input_embeddings()(torch.tensor([GAME.ids])).detach().clone()
        for player, (start, end) in enumerate(SPANS):
            if not mask >> player & 1:
                embedded_1TH[0, start:end] = vector
        with torch.no_grad():
            logits = model(inputs_embeds=embedded_1TH).logits[0, -1].double().numpy()
        p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        assert found[mask] == pytest.approx(np.log(p[7] / (1 - p[7])), abs=CLOSE)


def test_parts_of_a_level_and_targets_of_several_tokens_change_nothing() -> None:
    model, game = loud("llama"), tiny_game(SPANS, tokens=18, targets=(7, 9, 11))
    values = []
    for rows in (512, 4):
        with reading(model, blank(model), [game], rows=rows) as reader:
            values.append(reader.all_masks(game).values_M)
    assert np.allclose(values[0], values[1], atol=CLOSE)
    with reading(model, blank(model), [game], share=False) as reader:
        assert np.allclose(values[0], reader.all_masks(game).values_M, atol=CLOSE)


def test_a_first_player_at_the_first_token_is_shared_too() -> None:
    model, game = loud("llama"), tiny_game([(0, 2), (4, 5), (6, 7)], tokens=9)
    with reading(model, blank(model), [game]) as reader:
        every = (np.arange(8)[:, None] >> np.arange(3)) & 1 == 1
        assert np.allclose(reader.all_masks(game).values_M, reader.whole_rows(game, every), atol=CLOSE)


def test_a_model_that_carries_a_state_is_asked_in_whole_rows() -> None:
    model = loud("mamba2")
    with reading(model, blank(model), [GAME]) as reader:
        assert not reader.shares
        assert reader.all_masks(GAME).tokens == naive_tokens(GAME)


def test_without_attention_to_it_a_masked_word_changes_nothing_that_follows() -> None:
    model, unseen = loud("llama"), Blank("attention", None, "")
    other = tiny_game(SPANS, tokens=15)
    changed = list(other.ids)
    changed[5], changed[6] = 80, 81
    other = type(other)(other.question, tuple(changed), other.players, other.target_ids)
    with reading(model, unseen, [GAME]) as reader:
        found = reader.all_masks(GAME).values_M
        assert np.allclose(found, reader.whole_rows(GAME, EVERY), atol=CLOSE)
        again = reader.all_masks(other).values_M
    masked = ~EVERY[:, 1]
    assert np.allclose(found[masked], again[masked], atol=1e-5)
    assert not np.allclose(found[~masked], again[~masked], atol=1e-3)
    with pytest.raises(DataError, match="first token"), reading(model, unseen, [tiny_game([(0, 1)], tokens=4)]):
        pass


def test_log_odds_do_not_saturate() -> None:
    logits = torch.tensor([[100.0, 0.0, 0.0], [-100.0, 0.0, 0.0]])
    assert log_odds(logits, 0).tolist() == pytest.approx([100 - np.log(2), -100 - np.log(2)])
    assert logits[0, 0] == 100


def test_reading_leaves_the_model_as_it_was() -> None:
    model = loud("gpt2").to(torch.bfloat16).train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with reading(model, blank(model), [GAME]) as reader:
        reader.all_masks(GAME)
    assert model.training
    assert not model.get_input_embeddings()._forward_hooks
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


def test_noise_is_rounding_in_float32_and_a_thousand_times_more_in_half_precision() -> None:
    model = loud("llama")
    one, half = (measure(model, [GAME], blank(model), dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    assert 0 < one.noise_P[0] < 1e-5
    assert half.noise_P[0] > 1000 * one.noise_P[0]


def test_noise_is_that_of_disagreeing_repeats() -> None:
    model = loud("llama")
    with reading(model, blank(model), [GAME]) as reader:
        values = reader.all_masks(GAME).values_M
        noisy = values + 0.1 * np.random.default_rng(0).choice([-1.0, 1.0], size=len(values))
        assert numeric_noise(reader, GAME, noisy, repeats=2) == pytest.approx(0.1 / np.sqrt(2), rel=1e-3)


def test_the_same_weights_give_the_same_interactions_bit_for_bit() -> None:
    model = loud("llama")
    one, other = (measure(model, [GAME], blank(model)) for _ in range(2))
    assert np.array_equal(one.values_PM, other.values_PM)
    assert np.array_equal(one.interactions_P2M, other.interactions_P2M)


def test_a_learned_blank_lets_words_interact_less_and_the_weights_alone() -> None:
    model = loud("llama")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    games = [tiny_game(SPANS, tokens=15, seed=seed) for seed in range(1)]
    start = blank(model)
    made = learned_blank(model, games, start, epochs=5, rate=0.05)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert all(weight.requires_grad for weight in model.parameters())

    def together(one: Blank) -> float:
        values = measure(model, games, one, repeats=1).values_PM
        pairs = [(1 << i, 1 << j) for i in range(5) for j in range(i)]
        return float(np.mean([np.abs(values[:, a | b] - values[:, a] - values[:, b] + values[:, 0]) for a, b in pairs]))

    assert together(made) < 0.8 * together(start)


def test_a_game_beyond_the_positions_is_refused() -> None:
    model = loud("gpt2")
    with pytest.raises(DataError, match="positions"), reading(model, blank(model), [tiny_game([(0, 1)], tokens=65)]):
        pass
