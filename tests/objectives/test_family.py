"""What the members of the family promise beyond their formulas."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from objective_kit import engine_gradients, gradients, largest_difference, ragged
from torch.utils._python_dispatch import TorchDispatchMode

import tiny_models
from holdfast.errors import HoldfastError
from holdfast.members import build
from holdfast.objectives import OBJECTIVES
from holdfast.objectives.anchored import Anchored
from holdfast.objectives.base import TokenStats
from holdfast.objectives.dft import DFT
from holdfast.objectives.engine import Engine
from holdfast.objectives.entropy import Entropy
from holdfast.objectives.gem import GEM
from holdfast.objectives.importance import Importance
from holdfast.objectives.label_smoothing import LabelSmoothing
from holdfast.objectives.nll import NLL
from holdfast.objectives.power import Power
from holdfast.objectives.proximal import Proximal
from holdfast.objectives.sample_weighted import SampleWeighted
from holdfast.objectives.threshold import Threshold


@pytest.mark.parametrize("limit", [Power(alpha=0), Entropy(alpha=0), DFT(floor=1.0)], ids=str)
def test_the_limits_of_the_family_are_nll_bit_for_bit(limit):
    model, batch = tiny_models.build("llama"), ragged()
    told, found = engine_gradients(model, limit, [batch])
    plain, expected = engine_gradients(model, NLL(), [batch])
    assert told == plain
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_power_one_is_dft_bit_for_bit():
    logp = -torch.rand(50, generator=torch.Generator().manual_seed(0)) * 20
    assert torch.equal(Power(alpha=1, floor=0.1).weight(TokenStats(logp)), DFT(floor=0.1).weight(TokenStats(logp)))


@pytest.mark.parametrize("alpha", [0.3, 1.0, 2.5])
def test_a_power_has_the_gradient_of_its_integrated_form(alpha):
    logits = torch.randn(40, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    target = torch.arange(40) % 9
    logp = logits.log_softmax(-1).gather(1, target[:, None])[:, 0]
    (found,) = torch.autograd.grad(
        (Power(alpha).weight(TokenStats(logp.detach())) * -logp).sum(), logits, retain_graph=True
    )
    (expected,) = torch.autograd.grad(((1 - logp.exp() ** alpha) / alpha).sum(), logits)
    torch.testing.assert_close(found, expected)


def test_nll_is_the_policy_gradient_of_an_indicator_weighted_by_one_over_the_policy():
    """By exact enumeration of all answers of three tokens: the reinforcement reading of likelihood (Wu et al. 2025)."""
    vocabulary, target = 4, (2, 0, 3)
    # A policy whose next token depends on the token before it.
    table = torch.randn(vocabulary + 1, vocabulary, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    table.requires_grad_()

    def logp(answer):
        rows = table.log_softmax(-1)
        return sum(rows[before, token] for before, token in zip((vocabulary, *answer), answer, strict=False))

    expected_reward = 0.0
    for answer in itertools.product(range(vocabulary), repeat=3):
        probability = logp(answer).exp()
        reward = float(answer == target) / probability.detach()
        expected_reward = expected_reward + probability.detach() * reward * logp(answer)
    (policy,) = torch.autograd.grad(expected_reward, table)
    (likelihood,) = torch.autograd.grad(logp(target), table)
    torch.testing.assert_close(policy, likelihood, rtol=1e-12, atol=1e-14)


def test_the_gradient_of_nll_on_a_model_is_that_policy_gradient_over_all_answers():
    """The same of a tiny model by the engine: all 216 answers of three tokens after a prompt."""
    config = tiny_models.CONFIGS["llama"]()
    config.vocab_size, target = 6, torch.tensor([4, 0, 5])
    torch.manual_seed(0)
    model = type(tiny_models.build("llama"))(config).double()
    answers = torch.tensor(list(itertools.product(range(6), repeat=3)))
    ids = torch.cat([torch.tensor([[3, 4]]).expand(len(answers), 2), answers], dim=1)
    model.zero_grad()
    logp_NTV = model(ids, use_cache=False).logits[:, 1:-1].log_softmax(-1)
    logp_N = logp_NTV.gather(2, answers[..., None]).sum((1, 2))
    p_N = logp_N.detach().exp()
    assert float(p_N.sum()) == pytest.approx(1.0)
    reward_N = (answers == target).all(1) / p_N
    (p_N * reward_N * logp_N).sum().neg().backward()
    policy = gradients(model)
    row = torch.cat([torch.tensor([3, 4]), target])[None]
    labels = row.masked_fill(torch.arange(5) < 2, -100)
    batch = {"input_ids": row, "attention_mask": torch.ones_like(row), "labels": labels}
    _, likelihood = engine_gradients(model, NLL(), [batch])
    assert largest_difference({name: 3 * g for name, g in likelihood.items()}, policy) < 1e-6  # a mean over 3 tokens


def test_entropy_is_one_where_the_top_is_even_and_nothing_where_one_token_has_it_all():
    even = torch.full((1, 20), -4.0)
    sure = torch.tensor([[0.0, *[-200.0] * 19]])
    weight = Entropy().weight(TokenStats(torch.zeros(2), top_logp_NK=torch.cat([even, sure])))
    torch.testing.assert_close(weight, torch.tensor([1.0, 0.0]))


def test_the_normalizer_of_entropy_is_the_logarithm_of_k():
    """Two even candidates of 20 have ln 2 nats: without the normalizer they would weigh 0.69, with one of 3, 0.23."""
    two = torch.tensor([[0.0, 0.0, *[-200.0] * 18]])
    stats = TokenStats(torch.zeros(1), top_logp_NK=two)
    assert Entropy().weight(stats).item() == pytest.approx(math.log(2) / math.log(20), rel=1e-6)
    assert Entropy(alpha=2.0).weight(stats).item() == pytest.approx((math.log(2) / math.log(20)) ** 2, rel=1e-6)


def test_gem_at_temperature_one_has_the_gradient_of_nll():
    model, batch = tiny_models.build("llama").double(), ragged()
    _, found = engine_gradients(model, GEM(beta=1.0), [batch])
    _, expected = engine_gradients(model, NLL(), [batch])
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("member", [LabelSmoothing(), GEM()], ids=str)
def test_masked_entries_of_the_vocabulary_take_no_part(member):
    logits = torch.randn(5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    target = torch.arange(5)
    masked = torch.cat([logits, torch.full((5, 3), -math.inf, dtype=torch.float64)], dim=1).requires_grad_()
    found = member.row_loss(masked, target, None)
    torch.testing.assert_close(found, member.row_loss(logits, target, None))
    (gradient,) = torch.autograd.grad(found.sum(), masked)
    assert bool(gradient.isfinite().all())
    assert bool((gradient[:, 9:] == 0).all())


@pytest.mark.parametrize("direction", ["from_base", "to_base"])
def test_an_anchor_pulls_nowhere_at_the_base_and_divergence_is_never_negative(direction):
    draw = torch.Generator().manual_seed(4)
    base, other = (torch.randn(6, 8, dtype=torch.float64, generator=draw) for _ in range(2))
    anchor = Anchored(on="nll", strength=1.0, direction=direction)
    at_base = base.clone().requires_grad_()
    here = anchor.penalty(at_base, base)
    (gradient,) = torch.autograd.grad(here.sum(), at_base)
    assert here.abs().max() < 1e-14
    assert gradient.abs().max() < 1e-14
    assert bool((anchor.penalty(other, base) > 0).all())


def test_an_anchor_holds_tokens_that_its_objective_does_not_weigh():
    model, base = (tiny_models.build("llama", seed=seed).double() for seed in (0, 1))
    nothing = Anchored(on={"name": "threshold", "least": 1.0, "of": "model"}, strength=1.0)
    loss, found = engine_gradients(model, nothing, [ragged()], base=base)
    assert loss > 0
    assert any(bool((gradient != 0).any()) for gradient in found.values())


def test_rows_that_weigh_nothing_skip_the_way_back_through_the_head(monkeypatch):
    model, base, batch = tiny_models.build("llama"), tiny_models.build("llama", seed=1), ragged()
    with torch.no_grad():
        logp = Engine(base, NLL()).logp(batch)
    p = logp.logp_BT[logp.counted_BT].exp()
    least = float(p.median())
    rows = []
    from holdfast.objectives import chunks

    plain = chunks.HeadGradients.add

    def counted(self, at, hidden_RH, z_RV, d_z_RV):
        rows.append(len(d_z_RV))
        plain(self, at, hidden_RH, z_RV, d_z_RV)

    monkeypatch.setattr(chunks.HeadGradients, "add", counted)
    _, found = engine_gradients(model, Threshold(least), [batch], base=base)
    assert rows == [int((p >= least).sum())]
    assert rows[0] < len(p)
    rows.clear()
    _, expected = engine_gradients(model, NLL(), [{**batch, "labels": _kept(batch, logp, least)}])
    share = rows[0] / len(p)  # NLL divides by what it learns, the mask by all targets
    for name, value in expected.items():
        torch.testing.assert_close(found[name], share * value, rtol=1e-4, atol=1e-6)


def _kept(batch, logp, least):
    return batch["labels"].masked_fill(logp.counted_BT & (logp.logp_BT.exp() < least), -100)


class Products(TorchDispatchMode):
    """Keeps the shapes of every matrix product."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in ("mm", "addmm", "addmm_", "bmm"):
            self.seen.append((func.overloadpacket.__name__, [tuple(a.shape) for a in args if hasattr(a, "shape")]))
        return func(*args, **(kwargs or {}))


NO_MASK = {"name": "threshold", "of": "model", "least": 0.0}


@pytest.mark.parametrize("weight", ["dft", "power", "entropy", NO_MASK], ids=str)
def test_a_weight_costs_as_many_products_over_as_many_rows_as_nll(weight):
    model, batch = tiny_models.build("llama"), ragged()

    def products(objective):
        engine = Engine(model, objective)
        engine.loss(batch, engine.totals([batch]))  # the first call proves the head
        with Products() as counter:
            engine.loss(batch, engine.totals([batch])).loss.backward()
        return counter.seen

    assert len(products(NLL())) > 10
    assert products(build("objective", weight, OBJECTIVES)) == products(NLL())


def test_a_proximal_step_from_the_old_policy_is_that_of_nll_and_rows_past_the_clip_have_no_gradient():
    model, batch = tiny_models.build("llama").double(), ragged()
    with torch.no_grad():
        now = Engine(model, NLL()).logp(batch)
    loss, nll = engine_gradients(model, NLL(), [batch])
    told, first = engine_gradients(model, Proximal(), [{**batch, "old_logp": now.logp_BT}])
    assert told == pytest.approx(loss, rel=1e-12)
    assert largest_difference(first, nll) < 1e-12
    # Of every other row the old policy gave each token 1 / 1.29 of today's chance: past 1 + 0.28.
    past_BT = (torch.arange(8) % 2 == 0)[:, None].expand_as(now.logp_BT)
    old = now.logp_BT - past_BT * math.log(1.29)
    _, clipped = engine_gradients(model, Proximal(), [{**batch, "old_logp": old}])
    left = batch["labels"].masked_fill(past_BT, -100)
    _, rest = engine_gradients(model, NLL(), [{**batch, "labels": left}])
    share = int((now.counted_BT & ~past_BT).sum()) / int(now.counted_BT.sum())
    assert largest_difference(clipped, {name: share * g for name, g in rest.items()}) < 1e-6  # float32 norms
    # A chance that fell is not clipped: only the upper bound binds at an advantage of 1.
    _, fallen = engine_gradients(model, Proximal(), [{**batch, "old_logp": now.logp_BT + math.log(2)}])
    assert largest_difference(fallen, {name: g / 2 for name, g in nll.items()}) < 1e-9


def test_the_sums_of_a_step_hold_entropy_and_penalty():
    model, base, batch = (tiny_models.build("llama").double(), tiny_models.build("llama", seed=1).double(), ragged())
    engine = Engine(model, Anchored(on="nll", strength=0.5), base=base)
    out = engine.loss(batch, engine.totals([batch]))
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    learned = batch["labels"][:, 1:] != -100
    here, there = (one(**inputs).logits[:, :-1][learned].log_softmax(-1) for one in (model, base))
    assert out.sums.entropy.item() == pytest.approx(-(here.exp() * here).sum().item(), rel=1e-9)
    kl = (there.exp() * (there - here)).sum().item()
    assert out.sums.penalty.item() == pytest.approx(0.5 * kl, rel=1e-9)
    assert out.objective.item() * out.tokens == pytest.approx(out.sums.nll.item() + 0.5 * kl, rel=1e-9)


def test_answers_of_a_packed_row_are_weighed_apart():
    """Two documents in one row, their positions beginning anew: FLOW weighs each by its own loss."""
    model, base = (tiny_models.build("llama", seed=seed).double() for seed in (0, 1))
    ids = torch.randint(3, 80, (1, 12), generator=torch.Generator().manual_seed(5))
    positions = torch.tensor([[*range(5), *range(7)]])
    packed = {"input_ids": ids, "labels": ids, "position_ids": positions}
    with torch.no_grad():
        known = Engine(base, NLL()).logp(packed)
    engine = Engine(model, SampleWeighted(temperature=1.0))
    sums = engine.loss({**packed, "base_logp": known.logp_BT}, engine.totals([packed])).sums
    first, second = known.logp_BT[0, 1:5], known.logp_BT[0, 6:12]
    expected = len(first) * first.mean().exp() + len(second) * second.mean().exp()
    assert sums.weight.item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Power(alpha=-1), "alpha must be at least 0"),
        (lambda: Power(floor=2), "floor must lie in"),
        (lambda: Threshold(of="teacher"), "of must be base or model"),
        (lambda: Entropy(alpha=-0.5), "alpha must be at least 0"),
        (lambda: Proximal(clip=0), "clip must be above 0"),
        (lambda: Proximal(refresh=0), "refresh must be at least 1"),
        (lambda: Importance(least=3.0, per="token"), "least and most"),
        (lambda: SampleWeighted(temperature=0), "temperature must be above 0"),
        (lambda: LabelSmoothing(epsilon=1.0), "epsilon must lie in"),
        (lambda: GEM(beta=0), "beta must be above 0"),
        (lambda: Anchored(strength=0), "strength must be above 0"),
        (lambda: Anchored(direction="up"), "direction must be"),
        (lambda: Anchored(on={"name": "anchored"}), "one anchor is enough"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_out_of_range_and_combinations_without_sense_are_refused(make, message):
    with pytest.raises((ValueError, HoldfastError), match=message):
        make()
