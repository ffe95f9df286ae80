"""The chunked pass itself: exact, indifferent to chunk size, bounded in memory, finite at the extremes."""

from __future__ import annotations

import pytest
import torch
from objective_kit import (
    Anchored,
    Smoothed,
    engine_gradients,
    gradients,
    largest_difference,
    naive_gradients,
    naive_rows,
    ragged,
)
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import tiny_models
from holdfast.errors import UserError
from holdfast.models.compute import compute, set_masters
from holdfast.objectives.base import Objective
from holdfast.objectives.chunks import (
    LEAST_CHUNK,
    LOGIT_BUDGET,
    Rows,
    chunked_logp,
    chunked_loss,
    rows_per_chunk,
)
from holdfast.objectives.dft import DFT
from holdfast.objectives.engine import Engine
from holdfast.objectives.head import OutputHead
from holdfast.objectives.nll import NLL
from holdfast.objectives.spread import BINS

V, H = 11, 5


class HeadOnly(nn.Module):
    """A trunkless language model: its forward hands given hidden states to its head."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.config = tiny_models.CONFIGS["llama"]()

    def get_output_embeddings(self):
        return self.head

    def forward(self, hidden):
        return {"logits": self.head(hidden)}


def head_of(module: nn.Module) -> OutputHead:
    head = OutputHead(HeadOnly(module))
    head.trunk(HeadOnly(module), {"hidden": torch.zeros(1, 2, H, dtype=next(module.parameters()).dtype)})
    return head


def linear(dtype=torch.float64) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(H, V, dtype=dtype)


def row_values(count: int = 7):
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(count, H, dtype=torch.float64, generator=generator)
    target = torch.randint(0, V, (count,), generator=generator)
    share = torch.rand(count, dtype=torch.float64, generator=generator)
    return hidden, target, share


@pytest.mark.parametrize("objective", [NLL(), DFT(floor=1.0), Smoothed()], ids=["nll", "constant weight", "vocabulary"])
def test_gradcheck_in_float64_where_the_weight_is_constant(objective):
    # A weight that moves with p is held still on purpose, so finite differences agree only where it is constant.
    module = linear()
    head = head_of(module)
    hidden, target, share = row_values()

    def loss(hidden_NH, _weight, _bias):
        return chunked_loss(head, Rows(hidden_NH, target, share), objective=objective, chunk_rows=3).loss

    assert torch.autograd.gradcheck(loss, (hidden.requires_grad_(), module.weight, module.bias))


def test_gradcheck_of_log_probabilities_with_uneven_upstream_gradients():
    module = linear()
    head = head_of(module)
    hidden, target, share = row_values()

    def logp(hidden_NH, _weight, _bias):
        return chunked_logp(head, Rows(hidden_NH, target, share), chunk_rows=3)

    assert torch.autograd.gradcheck(logp, (hidden.requires_grad_(), module.weight, module.bias))


def test_sequence_losses_made_of_log_probabilities_have_the_gradient_of_plain_autograd():
    model, batch = tiny_models.build("llama").double(), ragged()
    logp, rows = naive_rows(model, batch)
    nn.functional.logsigmoid(torch.zeros(8, dtype=logp.dtype).index_add(0, rows, logp)).sum().backward()
    expected = gradients(model)
    model.zero_grad()
    nn.functional.logsigmoid(Engine(model, NLL(), chunk_rows=6).logp(batch).logp_BT.sum(1)).sum().backward()
    assert largest_difference(gradients(model), expected) < 1e-10


@pytest.mark.parametrize("objective", [NLL(), DFT(), Smoothed()], ids=["nll", "dft", "vocabulary"])
def test_the_size_of_chunks_does_not_matter(objective):
    model, batch = tiny_models.build("llama").double(), ragged()
    loss, expected = engine_gradients(model, objective, [batch])
    for chunk_rows in (1, 4, 1000):
        other, found = engine_gradients(model, objective, [batch], chunk_rows=chunk_rows)
        assert other == pytest.approx(loss, rel=1e-12)
        assert largest_difference(found, expected) < 1e-11


def test_a_floor_of_one_is_nll_bit_for_bit():
    model, batch = tiny_models.build("llama"), ragged()
    nll, one = (engine_gradients(model, member, [batch], chunk_rows=9) for member in (NLL(), DFT(floor=1.0)))
    assert nll[0] == one[0]
    assert all(torch.equal(nll[1][name], one[1][name]) for name in nll[1])


def test_nll_of_a_row_is_cross_entropy_bit_for_bit():
    module = linear(torch.float32)
    hidden, target, _ = row_values(1)
    hidden = hidden.float()
    out = chunked_loss(head_of(module), Rows(hidden, target, torch.ones(1)), objective=NLL(), chunk_rows=None)
    assert torch.equal(out.loss, nn.functional.cross_entropy(module(hidden), target))


def test_an_objective_that_sees_the_vocabulary_equals_plain_autograd():
    model, batch = tiny_models.build("llama").double(), ragged()
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = model(**inputs).logits[:, :-1].reshape(-1, 96)
    target = batch["labels"][:, 1:].reshape(-1)
    nn.functional.cross_entropy(logits, target, label_smoothing=0.2).backward()
    expected = gradients(model)
    _, found = engine_gradients(model, Smoothed(amount=0.2), [batch], chunk_rows=5)
    assert largest_difference(found, expected) < 1e-6  # Transformers' forward rounds nothing, its loss would


def test_an_objective_that_compares_with_the_base_sees_its_logits_in_every_chunk():
    model, base = tiny_models.build("gemma2").double(), tiny_models.build("gemma2", seed=1).double()
    batch = ragged()
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    learned = batch["labels"][:, 1:] != -100
    logp = model(**inputs).logits[:, :-1][learned].log_softmax(-1)
    base_logp = base(**inputs).logits[:, :-1][learned].log_softmax(-1).detach()
    target = batch["labels"][:, 1:][learned]
    kl = (base_logp.exp() * (base_logp - logp)).sum(-1)
    (0.5 * kl - logp.gather(1, target[:, None])[:, 0]).mean().backward()
    expected = gradients(model)
    _, found = engine_gradients(model, Anchored(), [batch], base=base, chunk_rows=5)
    assert largest_difference(found, expected) < 1e-9
    with pytest.raises(UserError, match="give base="):
        Engine(model, Anchored())


class Sizes(TorchDispatchMode):
    """Remembers the largest result of any operation, and the rows of matrix products with the head's weight."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.largest, self.head_rows = width, 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, torch.Tensor):
                self.largest = max(self.largest, value.numel())
                if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default) and value.shape[-1] == self.width:
                    self.head_rows.append(value.shape[0])
        return result


@pytest.mark.parametrize("objective", [NLL(), DFT(), Smoothed()], ids=["nll", "dft", "vocabulary"])
@pytest.mark.parametrize("head", ["linear", "traced"])
def test_no_tensor_of_rows_by_vocabulary_is_ever_made_and_ignored_rows_never_reach_the_head(objective, head):
    config = tiny_models.CONFIGS["llama"]()
    config.vocab_size = width = 4000
    torch.manual_seed(0)
    model = type(tiny_models.build("llama"))(config)
    if head == "traced":
        model.lm_head = Doubled(model.lm_head)
    batch = ragged()
    counted = int((batch["labels"][:, 1:] != -100).sum())
    engine = Engine(model, objective, chunk_rows=6)
    engine.loss(batch, engine.totals([batch]))  # the first forward proves the head on one row a sequence
    with Sizes(width) as sizes:
        engine.loss(batch, engine.totals([batch])).loss.backward()
    assert sum(sizes.head_rows) == counted
    assert max(sizes.head_rows) == 6
    weight = width * config.hidden_size
    assert sizes.largest <= max(6 * width, weight) < counted * width


def test_the_plain_loss_would_fail_the_dispatch_law():
    model, batch = tiny_models.build("llama"), ragged()
    counted = int((batch["labels"][:, 1:] != -100).sum())
    with Sizes(96) as sizes:
        model(**batch).loss.backward()
    assert sizes.largest >= counted * 96


class Doubled(nn.Linear):
    """A head that is not a plain linear map, to take the traced road."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False)
        self.weight = linear.weight

    def forward(self, hidden):
        return nn.functional.linear(2 * hidden, self.weight)


def test_log_probabilities_make_no_tensor_of_rows_by_vocabulary_either():
    config = tiny_models.CONFIGS["llama"]()
    config.vocab_size = width = 4000
    torch.manual_seed(0)
    model, batch = type(tiny_models.build("llama"))(config), ragged()
    engine = Engine(model, NLL(), chunk_rows=6)
    engine.logp(batch)
    with Sizes(width) as sizes:
        engine.logp(batch).logp_BT.sum().backward()
    assert max(sizes.head_rows) == 6
    assert sizes.largest <= width * config.hidden_size


def test_chunks_follow_the_budget_but_are_never_tiny():
    assert rows_per_chunk(1_000, None) == LOGIT_BUDGET // 4_000
    assert rows_per_chunk(10_000_000, None) == LEAST_CHUNK
    assert rows_per_chunk(1_000, 3) == 3


@pytest.mark.parametrize("objective", [NLL(), DFT()], ids=["nll", "dft"])
def test_impossible_targets_and_masked_vocabularies_stay_finite(objective):
    module = nn.Linear(2, 4, bias=True)
    with torch.no_grad():
        module.weight.zero_()
        module.bias.copy_(torch.tensor([200.0, 0.0, 0.0, float("-inf")]))
    hidden = torch.zeros(3, 2, requires_grad=True)
    head = OutputHead(HeadOnly(module))
    head.trunk(HeadOnly(module), {"hidden": torch.zeros(1, 2, 2)})
    rows = Rows(hidden, torch.tensor([0, 1, 2]), torch.ones(3))
    out = chunked_loss(head, rows, objective=objective, chunk_rows=None)
    out.loss.backward()
    assert out.sums.nll.item() == 400.0, "log p of -200 lies far below what exp can hold in float32"
    assert out.loss.item() == (400.0 if isinstance(objective, NLL) else 0.0)
    assert all(bool(g.isfinite().all()) for g in (hidden.grad, module.weight.grad, module.bias.grad))


def test_a_masked_entry_as_target_counts_zero_under_dft_and_is_reported_as_infinite_nll():
    module = nn.Linear(2, 3)
    with torch.no_grad():
        module.bias[2] = float("-inf")
    hidden = torch.ones(1, 2, requires_grad=True)
    head = OutputHead(HeadOnly(module))
    head.trunk(HeadOnly(module), {"hidden": torch.zeros(1, 2, 2)})
    out = chunked_loss(head, Rows(hidden, torch.tensor([2]), torch.ones(1)), objective=DFT(), chunk_rows=None)
    out.loss.backward()
    assert (out.loss.item(), out.sums.nll.item()) == (0.0, float("inf"))
    assert bool((hidden.grad == 0).all())


def test_a_certain_token_has_no_gradient():
    module = nn.Linear(2, 3)
    with torch.no_grad():
        module.weight.zero_()
        module.bias.copy_(torch.tensor([300.0, 0.0, 0.0]))
    hidden = torch.ones(1, 2, requires_grad=True)
    head = OutputHead(HeadOnly(module))
    head.trunk(HeadOnly(module), {"hidden": torch.zeros(1, 2, 2)})
    for objective in (NLL(), DFT()):
        hidden.grad = module.bias.grad = None
        rows = Rows(hidden, torch.tensor([0]), torch.ones(1))
        chunked_loss(head, rows, objective=objective, chunk_rows=None).loss.backward()
        assert bool((hidden.grad == 0).all())
        assert bool((module.bias.grad == 0).all())


def test_a_scaled_loss_scales_the_gradient():
    model, batch = tiny_models.build("llama").double(), ragged()
    _, expected = engine_gradients(model, DFT(), [batch])
    model.zero_grad()
    engine = Engine(model, DFT())
    (3 * engine.loss(batch, engine.totals([batch])).loss).backward()
    assert (
        largest_difference({n: g / 3 for n, g in gradients(model).items()}, expected) < 1e-6
    )  # Llama's norm is float32


def test_without_gradients_the_loss_is_the_same_and_nothing_is_kept():
    model, batch = tiny_models.build("llama"), ragged()
    engine = Engine(model, DFT())
    totals = engine.totals([batch])
    with torch.no_grad():
        quiet = engine.loss(batch, totals).loss
    assert not quiet.requires_grad
    assert torch.equal(quiet, engine.loss(batch, totals).loss.detach())


def test_entropy_is_that_of_the_model_also_where_entries_are_masked():
    class Entropic(Objective):
        needs = frozenset({"entropy"})

        def weight(self, stats):
            return stats.entropy_N

    module = nn.Linear(2, 4)
    with torch.no_grad():
        module.weight.zero_()
        module.bias.copy_(torch.tensor([1.0, 1.0, 1.0, float("-inf")]))
    head = OutputHead(HeadOnly(module))
    head.trunk(HeadOnly(module), {"hidden": torch.zeros(1, 2, 2)})
    rows = Rows(torch.zeros(2, 2), torch.tensor([0, 1]), torch.ones(2))
    out = chunked_loss(head, rows, objective=Entropic(), chunk_rows=None)
    assert out.sums.weight.item() == pytest.approx(2 * torch.log(torch.tensor(3.0)).item(), rel=1e-6)


def test_under_bf16_autocast_the_statistics_are_float32_and_the_gradients_near():
    model, batch = tiny_models.build("llama"), ragged()
    expected_loss, expected = naive_gradients(model, batch, torch.exp)
    for chunk_rows in (None, 4):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, found = engine_gradients(model, DFT(), [batch], chunk_rows=chunk_rows)
        assert loss == pytest.approx(expected_loss, rel=2e-2)
        assert largest_difference(found, expected) < 0.05
        assert all(g.dtype == torch.float32 for g in found.values())


def test_a_weight_of_the_wrong_shape_is_refused():
    class Scalar(Objective):
        def weight(self, stats):
            return stats.logp_N.mean()

    with pytest.raises(UserError, match=r"Scalar.weight returned shape \(\)"):
        engine_gradients(tiny_models.build("llama"), Scalar(), [ragged()])


def masters_and_their_exact_twin(learns):
    """A bf16 model with float32 masters, and the same values wholly in float32."""
    model, exact = tiny_models.build("llama").bfloat16(), tiny_models.build("llama").bfloat16().float()
    for one in (model, exact):
        set_masters(one, learns)
    return model, exact


ATTENTION = {f"model.layers.{i}.self_attn.{p}_proj.weight" for i in range(3) for p in "qkvo"}


@pytest.mark.parametrize("learns", [ATTENTION, ATTENTION | {"lm_head.weight"}], ids=["attention", "attention and head"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_float32_masters_get_their_gradients_through_the_compute_context(learns, dtype):
    model, exact = masters_and_their_exact_twin(learns)
    batch, tolerance = ragged(), 1e-5 if dtype == torch.float32 else 0.1
    expected_loss, expected = naive_gradients(exact, batch, torch.exp)
    engine = Engine(model, DFT(), chunk_rows=5)
    with compute(model, dtype):
        out = engine.loss(batch, engine.totals([batch]))
        out.loss.backward()
    found = gradients(model)
    assert out.loss.item() == pytest.approx(expected_loss, rel=tolerance)
    assert set(found) == learns
    assert largest_difference(found, expected) < tolerance
    assert all(g.dtype == torch.float32 for g in found.values())


def test_log_probabilities_made_under_autocast_can_be_differentiated_outside_it():
    model, exact = masters_and_their_exact_twin(ATTENTION | {"lm_head.weight"})
    batch = ragged()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logp = Engine(model, NLL(), chunk_rows=5).logp(batch).logp_BT
    logp.sum().backward()
    naive_rows(exact, batch)[0].sum().backward()
    assert logp.dtype == torch.float32
    assert largest_difference(gradients(model), gradients(exact)) < 0.1


def test_log_probabilities_differentiated_outside_their_compute_context_are_refused():
    model, _ = masters_and_their_exact_twin(ATTENTION | {"lm_head.weight"})
    with compute(model, torch.bfloat16):
        logp = Engine(model, NLL()).logp(ragged()).logp_BT
    with pytest.raises(UserError, match=r"call backward\(\) inside the same"):
        logp.sum().backward()


@pytest.mark.parametrize(
    ("dtype", "mean", "worst"), [(torch.float32, 1e-6, 1e-5), (torch.bfloat16, 1e-2, 5e-2)], ids=str
)
def test_probabilities_are_as_near_to_float64_as_the_dtype_of_the_logits_allows(dtype, mean, worst):
    torch.manual_seed(0)
    module = nn.Linear(64, 5000, bias=False).to(dtype)
    hidden, target = (3 * torch.randn(200, 64)).to(dtype), torch.randint(0, 5000, (200,))
    head = OutputHead(HeadOnly(module))
    head.trunk(HeadOnly(module), {"hidden": torch.zeros(1, 2, 64, dtype=dtype)})
    found = chunked_logp(head, Rows(hidden, target, torch.ones(200)), chunk_rows=None)
    exact = (hidden.double() @ module.weight.double().T).log_softmax(-1).gather(1, target[:, None])[:, 0]
    error = (found.detach().double() - exact).exp().sub(1).abs()
    assert found.dtype == torch.float32
    assert error.mean() < mean
    assert error.max() < worst


@pytest.mark.parametrize("objective", [NLL(), DFT()], ids=["nll", "dft"])
@pytest.mark.parametrize("chunk_rows", [None, 3])
def test_the_spread_of_gradients_is_their_variance_around_each_bins_mean(objective, chunk_rows):
    module = linear()
    with torch.no_grad():
        module.weight *= 4  # so that p spreads over all bins
    hidden, target, share = row_values(60)
    hidden.requires_grad_()
    spread = chunked_loss(
        head_of(module), Rows(hidden, target, share), objective=objective, chunk_rows=chunk_rows
    ).spread
    own, p = [], []
    for row, token in zip(hidden.detach(), target, strict=True):
        leaf = row.clone().requires_grad_()
        logp = torch.log_softmax(module(leaf), -1)[token]
        weight = 1.0 if isinstance(objective, NLL) else logp.exp().item()
        own.append(torch.autograd.grad(-weight * logp, leaf)[0])
        p.append(logp.exp().item())
    for place in range(BINS):
        inside = [g for g, one in zip(own, p, strict=True) if min(int(one * BINS), BINS - 1) == place]
        assert spread.count_K[place] == len(inside)
        expected = ((torch.stack(inside) - torch.stack(inside).mean(0)) ** 2).sum() if inside else 0.0
        around_mean = spread.squares_K[place] - spread.sum_KH[place].square().sum() / max(len(inside), 1)
        assert float(around_mean) == pytest.approx(float(expected), rel=1e-9, abs=1e-12)
    assert int((spread.count_K > 0).sum()) >= 3
