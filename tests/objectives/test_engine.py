"""Normalization and layout: the step's loss is one mean over all counted tokens, whatever the batches look like."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from objective_kit import (
    engine_gradients,
    gradients,
    largest_difference,
    naive_gradients,
    naive_rows,
    ragged,
    split,
)

import tiny_models
from holdfast.errors import DataError, UserError
from holdfast.objectives.base import Objective
from holdfast.objectives.dft import DFT
from holdfast.objectives.engine import Engine, counted_targets
from holdfast.objectives.nll import NLL

MEMBERS = {"nll": (NLL(), torch.ones_like), "dft": (DFT(), torch.exp)}


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("normalize", ["tokens", "examples", "weights"])
def test_eight_by_one_equals_four_by_two_equals_one_by_eight_and_plain_autograd(name, normalize):
    objective, weight = MEMBERS[name]
    model, batch = tiny_models.build("llama").double(), ragged()
    expected_loss, expected = naive_gradients(model, batch, weight, normalize)
    for size in (8, 4, 2, 1):
        loss, found = engine_gradients(model, objective, split(batch, size), normalize=normalize)
        assert loss == pytest.approx(expected_loss, rel=1e-12)
        assert largest_difference(found, expected) < 1e-11


def test_means_of_micro_batches_would_give_another_gradient():
    model, batch = tiny_models.build("llama").double(), ragged()
    _, expected = naive_gradients(model, batch)
    model.zero_grad()
    parts = [part for part in split(batch, 2) if (part["labels"] != -100).any()]
    for part in parts:
        (-naive_rows(model, part)[0].mean() / len(parts)).backward()
    assert largest_difference(gradients(model), expected) > 1e-2


def test_weights_are_the_same_in_the_counting_pass_and_the_gradient_pass_under_dropout():
    config = tiny_models.CONFIGS["llama"]()
    config.attention_dropout = 0.5
    torch.manual_seed(0)
    model = type(tiny_models.build("llama"))(config).train()
    engine = Engine(model, DFT(), normalize="weights")
    batches = split(ragged(), 2)
    totals = engine.totals(batches)
    assert sum(float(engine.loss(batch, totals).sums.weight) for batch in batches) == pytest.approx(
        totals.weight, rel=1e-6
    )


def test_a_micro_batch_without_targets_gives_zero_with_a_graph():
    model, batch = tiny_models.build("llama"), ragged()
    engine = Engine(model, DFT())
    totals = engine.totals([batch])
    out = engine.loss(split(batch, 1)[3], totals)
    out.loss.backward()
    assert (out.loss.item(), out.tokens, out.sums.nll.item()) == (0.0, 0, 0.0)
    assert all(p.grad is not None and bool((p.grad == 0).all()) for p in model.parameters())


@pytest.mark.parametrize("normalize", ["tokens", "examples", "weights"])
def test_a_step_without_any_target_is_zero_and_not_nan(normalize):
    loss, found = engine_gradients(tiny_models.build("llama"), DFT(), split(ragged(), 1)[3:4], normalize=normalize)
    assert loss == 0.0
    assert all(bool((g == 0).all()) for g in found.values())


def test_the_denominator_counts_shifted_targets_not_labels_prompts_or_padding():
    batch = {
        "input_ids": torch.tensor([[5, 6, 7, 8, 0], [5, 6, 7, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]]),
        "labels": torch.tensor([[5, 6, 7, 8, -100], [-100, -100, 7, 0, 0]]),
    }
    totals = Engine(tiny_models.build("llama"), NLL()).totals([batch])
    assert (totals.tokens, totals.examples, totals.batches) == (3 + 1, 2, 1)


def test_left_and_right_padding_give_one_gradient():
    model = tiny_models.build("llama").double()
    right, left = ragged(side="right"), ragged(side="left")
    # Labels on the whole row: the first real token of a left-padded row is predicted by padding and must not count.
    for batch in (right, left):
        batch["labels"] = torch.where(batch["attention_mask"] == 1, batch["input_ids"], -100)
    loss_right, found_right = engine_gradients(model, DFT(), [right])
    loss_left, found_left = engine_gradients(model, DFT(), [left])
    assert loss_left == pytest.approx(loss_right, rel=1e-10)
    assert largest_difference(found_left, found_right) < 1e-6  # rotary phases differ: rounding, amplified by softmax


def test_the_first_token_of_a_packed_document_is_not_a_target():
    batch = {
        "input_ids": torch.tensor([[5, 6, 7, 8, 9, 10]]),
        "position_ids": torch.tensor([[0, 1, 2, 0, 1, 2]]),
        "labels": torch.tensor([[5, 6, 7, 8, 9, 10]]),
    }
    assert counted_targets(batch).tolist() == [[False, True, True, False, True, True]]


@pytest.mark.parametrize("objective", [NLL(), DFT()], ids=["nll", "dft"])
def test_documents_packed_into_one_row_have_the_gradient_of_padded_ones(objective):
    """Without padding, positions that begin anew part the documents, in attention as in what counts as a target."""
    model = tiny_models.build("llama").double()
    with torch.no_grad():
        for layer in model.model.layers:  # so that looking across a border would show
            layer.self_attn.q_proj.weight *= 30
            layer.self_attn.k_proj.weight *= 30
    padded = ragged()
    keep = padded["attention_mask"] == 1
    packed = {
        "input_ids": padded["input_ids"][keep][None],
        "labels": torch.where(keep, padded["labels"], -100)[keep][None],
        "position_ids": (padded["attention_mask"].cumsum(1) - 1)[keep][None],
    }
    loss, expected = engine_gradients(model, objective, [padded])
    told, found = engine_gradients(model, objective, [packed])
    assert told == pytest.approx(loss, rel=1e-6)
    assert largest_difference(found, expected) < 1e-5
    _, blind = engine_gradients(model, objective, [{n: v for n, v in packed.items() if n != "position_ids"}])
    assert largest_difference(blind, expected) > 1e-2


def test_counting_does_not_change_the_batch():
    batch = ragged()
    before = {name: value.clone() for name, value in batch.items()}
    Engine(tiny_models.build("llama"), NLL()).totals([batch])
    assert all(torch.equal(batch[name], before[name]) for name in before)


def test_row_order_does_not_matter():
    model, batch = tiny_models.build("llama").double(), ragged()
    order = torch.tensor([5, 0, 7, 2, 1, 6, 3, 4])
    _, expected = engine_gradients(model, DFT(), [batch], chunk_rows=5)
    _, found = engine_gradients(model, DFT(), [{name: v[order] for name, v in batch.items()}], chunk_rows=5)
    assert largest_difference(found, expected) < 1e-11


def test_the_same_step_twice_gives_the_same_bits():
    model, batches = tiny_models.build("llama"), split(ragged(), 2)
    first, second = (engine_gradients(model, DFT(), batches, chunk_rows=7) for _ in range(2))
    assert first[0] == second[0]
    assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])


def test_plain_nll_mean_weight_and_light_tokens_are_reported_beside_any_objective():
    model, batch = tiny_models.build("llama"), ragged()
    engine = Engine(model, DFT())
    out = engine.loss(batch, engine.totals([batch]))
    logp = naive_rows(model, batch)[0].detach()
    assert out.tokens == len(logp)
    assert out.sums.nll.item() == pytest.approx(-logp.sum().item(), rel=1e-5)
    assert out.sums.weight.item() == pytest.approx(logp.exp().sum().item(), rel=1e-5)
    assert out.sums.weighted.item() == pytest.approx(-(logp.exp() * logp).sum().item(), rel=1e-5)
    assert out.sums.light.item() == float((logp.exp() < 0.1).sum())
    assert out.objective.item() == pytest.approx(out.sums.weighted.item() / out.tokens, rel=1e-6)


@dataclass(frozen=True)
class Decayed(Objective):
    def regularizer(self, model):
        return sum((p.square().sum() for p in model.parameters()), torch.tensor(0.0))


def test_the_regularizer_is_in_a_step_once_however_many_micro_batches():
    model, batch = tiny_models.build("llama").double(), ragged()
    plain, _ = engine_gradients(model, NLL(), [batch])
    penalty = Decayed().regularizer(model).item()
    for size in (8, 2):
        loss, _ = engine_gradients(model, Decayed(), split(batch, size))
        assert loss == pytest.approx(plain + penalty, rel=1e-12)


@pytest.mark.parametrize("asked", [True, False])
def test_the_router_loss_is_kept_unweighted_when_the_config_asks_and_only_then(asked):
    model, batch = tiny_models.build("mixtral"), ragged()
    model.config.output_router_logits = asked
    model.config.router_aux_loss_coef = 0.5
    objective, _ = engine_gradients(tiny_models.build("mixtral"), DFT(), [batch])
    engine = Engine(model, DFT())
    out = engine.loss(batch, engine.totals([batch]))
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    expected = 0.5 * model(**inputs).aux_loss.item() if asked else 0.0
    assert out.loss.item() == pytest.approx(objective + expected, rel=1e-5)
    assert out.objective.item() == pytest.approx(objective, rel=1e-6)
    assert (out.router_loss is not None) == asked


@dataclass(frozen=True)
class Clipped(Objective):
    """1 where p has not grown by more than a fifth since the data was made, else 0."""

    needs = frozenset({"old_logp"})

    def weight(self, stats):
        ratio = (stats.logp_N - stats.old_logp_N).exp()
        return ratio * (ratio <= 1.2)


def test_old_log_probabilities_from_the_engine_give_weight_one_and_clipped_rows_no_gradient():
    model, batch = tiny_models.build("llama").double(), ragged()
    with torch.no_grad():
        old = Engine(model, NLL()).logp(batch).logp_BT
    _, nll = engine_gradients(model, NLL(), [batch])
    _, same = engine_gradients(model, Clipped(), [{**batch, "old_logp": old}])
    assert largest_difference(same, nll) < 1e-9
    loss, clipped = engine_gradients(model, Clipped(), [{**batch, "old_logp": old - 1}])
    assert loss == 0.0
    assert all(bool((g == 0).all()) for g in clipped.values())


def test_a_missing_statistic_is_named_and_nothing_is_guessed():
    with pytest.raises(DataError, match="needs old_logp in every batch"):
        engine_gradients(tiny_models.build("llama"), Clipped(), [ragged()])


def test_base_log_probabilities_come_from_the_base_model_when_batches_lack_them():
    @dataclass(frozen=True)
    class Known(Objective):
        needs = frozenset({"base_logp"})

        def weight(self, stats):
            return (stats.base_logp_N > -4.5).to(stats.logp_N)

    model, base, batch = tiny_models.build("llama").double(), tiny_models.build("llama", seed=1).double(), ragged()
    with torch.no_grad():
        logp = Engine(base, NLL()).logp(batch).logp_BT
    _, live = engine_gradients(model, Known(), [batch], base=base)
    _, cached = engine_gradients(model, Known(), [{**batch, "base_logp": logp}])
    _, nll = engine_gradients(model, NLL(), [batch])
    assert largest_difference(live, cached) < 1e-12
    assert largest_difference(live, nll) > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [({"normalize": "token"}, 'Did you mean "tokens"'), ({"chunk_rows": 0}, "at least 1")],
)
def test_wrong_options_are_refused_by_name(options, message):
    with pytest.raises(UserError, match=message):
        Engine(tiny_models.build("llama"), NLL(), **options)


def test_shifted_labels_are_refused_with_both_shapes():
    batch = ragged()
    with pytest.raises(DataError, match=r"\(8, 10\).*\(8, 11\)"):
        Engine(tiny_models.build("llama"), NLL()).totals([{**batch, "labels": batch["labels"][:, 1:]}])
