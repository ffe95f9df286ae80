"""What becomes of interactions between moments, and what it is worth."""

from __future__ import annotations

import json

import numpy as np
import pytest

from holdfast.probes.interactions.agreement import agreement, by_chance, soft_agreement, stable, stable_by_chance
from holdfast.probes.interactions.backbone import loss_of_set
from holdfast.probes.interactions.cancellation import cancellation, cancelled, evidence
from holdfast.probes.interactions.denoising import Balance, balance, best_moment, boundary, past_best, reliable_ratio
from holdfast.probes.interactions.measure import Measured
from holdfast.probes.interactions.moment import Moment, with_noise_again
from holdfast.probes.interactions.order import by_order, high_order_share, mean_order, strength, thirds
from holdfast.probes.interactions.salience import rises_with_words, salient, sparsity
from holdfast.probes.interactions.sets import follow, turnover
from holdfast.probes.interactions.split import split, tolerance
from holdfast.probes.interactions.telling import tell
from planted_games import planted


def measured(values: np.ndarray, *, noise: float = 0.0) -> Measured:
    found = split(values, tolerance(values, noise_P=noise))
    return Measured(
        keys=tuple(f"p{number}" for number in range(len(values))),
        values_PM=values,
        interactions_P2M=np.stack([found.and_PM, found.or_PM], axis=1),
        noise_P=np.full(len(values), noise),
        gap_P=found.gap_P,
        residual_P=found.residual_P,
        tokens=0,
    )


def outputs(*, seed: int, prompts: int = 6, n: int = 4) -> np.ndarray:
    return np.array([planted(n, atoms=6, noise=0.0, seed=100 * seed + p).values for p in range(prompts)])


def atoms(**values: float) -> np.ndarray:
    """One prompt of three players: ``a3=1.0`` is the AND of players 0 and 1, ``o7`` the OR of all."""
    found = np.zeros((1, 2, 8))
    for name, value in values.items():
        found[0, "ao".index(name[0]), int(name[1:])] = value
    return found


TAU = np.ones((1, 2, 8))


def test_what_counted_leaves_only_below_half_of_its_threshold() -> None:
    history = [atoms(a1=1.2, a2=0.9), atoms(a1=0.6, a2=0.9), atoms(a1=0.4, a2=1.0)]
    counts = [sets.now[0, 0, 1:3].tolist() for sets in follow(history, TAU)]
    assert counts == [[1, 0], [1, 0], [0, 1]]


def test_a_turned_sign_is_a_removal_and_an_emergence() -> None:
    last = follow([atoms(o7=2.0), atoms(o7=-2.0)], TAU)[-1]
    assert last.removed[0, 1, 7] == 1
    assert last.emerged[0, 1, 7] == -1
    assert not last.preserved.any()


def test_what_came_back_is_not_preserved() -> None:
    chain = follow([atoms(a1=2.0), atoms(), atoms(a1=2.0)], TAU)
    assert [sets.preserved[0, 0, 1] for sets in chain] == [1, 0, 0]
    assert chain[-1].emerged[0, 0, 1] == 1
    assert chain[-1].removed[0, 0, 1] == 0


def test_sets_part_what_counts_at_every_moment() -> None:
    generator = np.random.default_rng(0)
    history = [generator.standard_normal((3, 2, 16)) * 2 for _ in range(5)]
    for before, sets in zip(
        [None, *follow(history, np.ones((3, 2, 16)))], follow(history, np.ones((3, 2, 16))), strict=False
    ):
        assert np.array_equal(sets.now, sets.preserved + sets.emerged)
        assert not ((sets.preserved != 0) & (sets.removed == sets.preserved)).any()
        assert before is None or not ((sets.preserved != 0) & (before.preserved == 0)).any()


def test_turnover_is_0_for_equal_and_1_for_disjoint_sets() -> None:
    one, other = (salient(atoms(**made), TAU) for made in ({"a1": 2, "a2": 2}, {"a4": 2}))
    half = salient(atoms(a1=2, a4=2), TAU)
    assert [turnover(one, x)[0] for x in (one, other, half)] == [0.0, 1.0, pytest.approx(2 / 3)]


def test_agreement_asks_for_the_sign_and_chance_is_what_shuffled_references_give() -> None:
    generator = np.random.default_rng(1)
    members, reference = (generator.choice([-1, 0, 1], size=(1, 2, 256)).astype(np.int8) for _ in range(2))
    assert np.nanmean(agreement(members, [members])) == 1
    assert np.nanmean(agreement(members, [-members])) == 0
    size = np.array([bin(subset).count("1") for subset in range(256)])
    shuffled = []
    for _ in range(200):
        other = reference.copy()
        for order in range(1, 9):
            for kind in (0, 1):
                other[0, kind, size == order] = generator.permutation(other[0, kind, size == order])
        shuffled.append(np.nanmean(agreement(members, [other])[..., 1:]))
    assert np.nanmean(by_chance(members, [reference])[..., 1:]) == pytest.approx(np.mean(shuffled), abs=0.01)


def test_stable_is_two_thirds_of_the_templates_with_the_prompt_itself() -> None:
    members = salient(atoms(a1=2, a2=2, a4=2), TAU)
    templates = [salient(atoms(a1=2), TAU), salient(atoms(a1=2, a2=2), TAU)]
    found = stable(members, templates)
    assert [found[0, 0, at] for at in (1, 2, 4)] == [1.0, 1.0, 0.0]
    assert np.isnan(found[0, 1]).all()
    chance = stable_by_chance(members, templates)
    assert chance[0, 0, 1] == pytest.approx(1 - (1 - 1 / 3) * (1 - 2 / 3))


def test_soft_agreement_is_a_ratio_and_0_for_other_signs() -> None:
    members = salient(atoms(a1=2, a2=2), TAU)
    found = soft_agreement(members, atoms(a1=2, a2=2), [atoms(a1=4, a2=-2)])
    assert [found[0, 0, at] for at in (1, 2)] == [0.5, 0.0]


@pytest.mark.parametrize("count", [10, 100])
def test_random_signs_leave_a_share_that_the_floor_takes_off(count: int) -> None:
    generator = np.random.default_rng(count)
    drawn = np.zeros((200, 2, 128))
    drawn.reshape(200, -1)[:, :count] = generator.choice([-1.0, 1.0], size=(200, count))
    found = cancellation(drawn)
    assert found.floor.mean() == pytest.approx(np.sqrt(2 / np.pi / count), rel=0.1)
    assert abs(found.corrected.mean()) < 0.05
    assert cancellation(np.abs(drawn)).corrected == pytest.approx(np.ones(200))


def test_evidence_is_what_all_interactions_together_do_not_cancel() -> None:
    one = measured(outputs(seed=1), noise=0.0)
    plain = cancellation(one.interactions_P2M).rho
    reach = one.residual_P / strength(one.interactions_P2M)
    assert (np.abs(evidence(one.values_PM, one.interactions_P2M) - plain) <= reach + 1e-9).all()
    assert np.allclose(cancelled(one.interactions_P2M), strength(one.interactions_P2M) * (1 - plain))


def test_orders_share_all_strength() -> None:
    found = atoms(a1=1, a3=-2, a7=3, o5=4)
    assert by_order(found).total[0].tolist() == [1, 6, 3]
    assert by_order(found).negative[0].tolist() == [0, -2, 0]
    assert mean_order(found)[0] == pytest.approx((1 + 12 + 9) / 10)
    assert high_order_share(found)[0] == pytest.approx(0.3)
    assert thirds(found)[0].tolist() == pytest.approx([0.1, 0.6, 0.3])


def test_the_balance_is_removed_noise_less_emerged_noise() -> None:
    first, now = atoms(a1=4, a2=3, a4=1), atoms(a1=4, a3=1, o7=2)
    sets = follow([first, now], TAU)[-1]
    reliable_first, reliable_now = np.full((2, 1, 2, 8), np.nan)
    reliable_first[0, 0, [1, 2, 4]] = 1, 0, 1
    reliable_now[0, 0, [1, 3]], reliable_now[0, 1, 7] = (1, 1), 0
    found = balance(sets, first=first, now=now, reliable_first=reliable_first, reliable_now=reliable_now)
    assert found.removed[0] == pytest.approx(4 / 8)
    assert found.removed_unreliable[0] == pytest.approx(3 / 8)
    assert found.emerged[0] == pytest.approx(3 / 8)
    assert found.emerged_unreliable[0] == pytest.approx(2 / 8)
    assert found.benefit[0] == pytest.approx(1 / 8)


def test_past_the_best_is_sure_when_all_prompts_are_worse_and_a_coin_when_they_differ() -> None:
    best, worse = np.full(20, 0.3), np.full(20, 0.1)
    assert past_best([np.zeros(20), best]) == 0.0
    assert past_best([np.zeros(20), best, worse]) == 1.0
    assert past_best([np.zeros(20), best, worse], margin=0.5) == 0.0
    mixed = best + np.tile([0.2, -0.2000001], 10)
    assert 0.3 < past_best([np.zeros(20), best, mixed]) < 0.7
    assert best_moment([np.zeros(20), best, worse]) == 1


def test_denoising_ends_at_the_best_moment_and_the_interval_holds_those_that_other_prompts_have() -> None:
    benefits, steps = [np.zeros(20), np.full(20, 0.3), np.full(20, 0.1)], [0, 40, 80]
    sure = boundary(benefits, steps)
    assert (sure.value, sure.low, sure.high) == (40, 40, 40)
    benefits[2] = benefits[1] + np.tile([0.2, -0.2000001], 10)
    mixed = boundary(benefits, steps)
    assert (mixed.value, mixed.low, mixed.high) == (40, 40, 80)
    benefits[0] = np.where(np.arange(20) == 0, np.nan, 0.0)  # a prompt that tells nothing is left out
    assert boundary(benefits, steps).clusters == 19
    assert boundary([np.full(2, np.nan)], [0]).value is None


def test_the_ratio_is_one_of_means_and_its_interval_holds_what_other_prompts_give() -> None:
    generator = np.random.default_rng(3)
    removed, emerged = generator.uniform(0.2, 0.6, 40), generator.uniform(0.0, 0.3, 40)
    found = reliable_ratio(Balance(removed, removed, emerged, np.zeros(40)))
    assert found.value == pytest.approx(emerged.mean() / removed.mean())
    spread = np.std(emerged - found.value * removed) / removed.mean() / np.sqrt(40)  # the delta method
    assert found.low == pytest.approx(found.value - 1.96 * spread, abs=0.25 * spread)
    assert found.high == pytest.approx(found.value + 1.96 * spread, abs=0.25 * spread)
    nothing = np.zeros(40)
    assert reliable_ratio(Balance(nothing, nothing, emerged, nothing)).value is None
    rare = np.where(np.arange(40) == 0, 1.0, 0.0)
    assert reliable_ratio(Balance(rare, rare, emerged, nothing)).high is None


def test_other_models_and_templates_each_have_a_balance() -> None:
    one, other = measured(outputs(seed=1)), measured(outputs(seed=2))
    first = Moment(one, templates=(one.salient(),), references=(np.zeros_like(one.salient()),))
    # What counts now, by the thresholds of the start, is in every template, and in no other model.
    units = [found.scaled() for found in (one, other)]
    counts = follow([unit.interactions_P2M for unit in units], units[0].thresholds())[-1].now
    then = Moment(other, templates=(counts,), references=first.references, step=7)
    told = tell([first, then]).estimates
    assert told["emerged"].value > 0
    assert told["stable_emerged_unreliable"].value == 0.0
    assert told["emerged_unreliable"].value == told["emerged"].value == told["stable_emerged_reliable"].value
    alone = tell([Moment(m.measured, m.templates, step=m.step) for m in (first, then)]).estimates
    for name in ("balance", "boundary", "removed_unreliable"):
        assert alone[name].value == alone[f"stable_{name}"].value == told[f"stable_{name}"].value


def test_a_model_that_does_not_move_has_nothing_emerged_or_removed() -> None:
    one = measured(outputs(seed=2), noise=1e-6)
    moment = Moment(one, (one.salient(),), (), with_noise_again(one, seed=1))
    told = tell([moment, moment, moment])
    value = {name: estimate.value for name, estimate in told.estimates.items()}
    for name in ("emerged_count", "removed_count", "turnover", "balance", "removal", "noise_turnover"):
        assert value[name] == 0.0, name
    assert value["stable_preserved"] == 1.0
    assert value["stable_emerged"] is None
    assert value["gamma_preserved"] is None
    assert told.chances == {"past_best": 0.0, "stable_past_best": 0.0}
    assert told.estimates["boundary"].value == 0


def test_a_model_that_only_grows_surer_changes_nothing_but_its_strength() -> None:
    values = outputs(seed=3)
    first, surer = (measured(values * factor) for factor in (1.0, 3.0))
    moments = [Moment(one, (one.salient(),)) for one in (first, surer)]
    free, raw = (tell(moments, raw=kept).estimates for kept in (False, True))
    assert free["turnover"].value == 0.0
    assert raw["emerged_count"].value > 0
    assert free["strength"].value == pytest.approx(3 * tell(moments[:1]).estimates["strength"].value, rel=1e-3)


def test_what_a_moment_is_worth_does_not_depend_on_later_ones() -> None:
    found = [measured(outputs(seed=k)) for k in range(3)]
    moments = [Moment(one, (other.salient(),)) for one, other in zip(found, [*found[1:], found[0]], strict=True)]
    early, late = tell(moments[:2]), tell(moments)
    assert np.array_equal(np.array(early.balances), np.array(late.balances[:2]))
    assert np.abs(early.balances[1]).max() > 0


def test_numbers_carry_intervals_over_prompts() -> None:
    one, other = measured(outputs(seed=4, prompts=12)), measured(outputs(seed=5, prompts=12))
    told = tell([Moment(one, (one.salient(),)), Moment(other, (other.salient(),))]).estimates
    assert told["high_order"].low < told["high_order"].value < told["high_order"].high
    assert told["high_order"].n == 12
    assert told["stable_emerged"].clusters <= 12


def test_strength_by_order_of_what_stayed_and_came_is_that_of_what_counts() -> None:
    one, other = measured(outputs(seed=4)), measured(outputs(seed=5))
    told = tell([Moment(one), Moment(other)], raw=True)
    counts = follow([one.interactions_P2M, other.interactions_P2M], one.thresholds())[-1].now
    wanted = by_order(np.where(counts != 0, other.interactions_P2M, 0.0))
    for sign in ("positive", "negative"):
        found = np.array(told.orders["preserved"][sign]) + np.array(told.orders["emerged"][sign])
        assert np.allclose(found, wanted._asdict()[sign].mean(0))
    assert told.chances == {"past_best": None, "stable_past_best": None}


def test_a_moment_comes_back_from_json() -> None:
    one = measured(outputs(seed=6), noise=1e-3)
    moment = Moment(one, (one.salient(),), (-one.salient(),), with_noise_again(one, seed=0))
    back = Moment.from_json(json.loads(json.dumps(moment.to_json())))
    assert np.allclose(back.measured.interactions_P2M, one.interactions_P2M, rtol=1e-5)
    assert np.array_equal(back.templates[0], moment.templates[0])
    assert np.array_equal(back.references[0], moment.references[0])
    assert np.array_equal(back.again, moment.again)


def test_moments_of_other_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="same prompts"):
        tell([Moment(measured(outputs(seed=7, prompts=2))), Moment(measured(outputs(seed=7, prompts=3)))])


def test_all_interactions_together_lose_what_the_model_loses() -> None:
    one = measured(outputs(seed=8))
    everything = np.sign(one.interactions_P2M).astype(np.int8)
    by_sets = loss_of_set(one.values_PM, one.interactions_P2M, everything)
    assert np.abs(by_sets - np.logaddexp(0, -one.values_PM[:, -1])).max() <= one.residual_P.max() + 1e-9
    nothing = np.zeros_like(everything)
    assert loss_of_set(one.values_PM, one.interactions_P2M, nothing) == pytest.approx(
        np.logaddexp(0, -one.values_PM[:, 0])
    )


def test_sparsity_counts_and_the_condition_of_the_theorem_is_told() -> None:
    assert sparsity(salient(atoms(a1=2, o7=2), TAU))[0] == 2 / 8
    rising = np.array([[0.0, 1.0, 1.0, 2.0], [0.0, 1.0, 1.0, 0.5]])
    assert rises_with_words(rising).tolist() == [True, False]
