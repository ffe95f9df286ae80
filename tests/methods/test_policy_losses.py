"""Advantages and policy losses against formulas written a second time, in NumPy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import peft
import pytest
import torch

from holdfast.data.encode import Encoded
from holdfast.methods.actor_critic import ActorCritic, Critic, generalized_advantages
from holdfast.methods.group_relative import GroupRelative, group_relative
from holdfast.methods.grpo import GRPO
from holdfast.methods.on_policy import Lesson, OnPolicy, Setting
from holdfast.methods.ppo import PPO
from holdfast.models.ranks import ALONE
from holdfast.objectives.base import Objective
from holdfast.objectives.engine import Engine
from tiny_models import build


@pytest.mark.parametrize("scale", [True, False])
def test_an_episode_is_worth_its_reward_beside_its_groups(scale: bool) -> None:
    rewards = [3.0, -1.0, 0.0, 0.0, 5.0]
    expected = np.array(rewards) - np.mean(rewards)
    expected /= np.std(rewards) if scale else 1.0
    assert group_relative(rewards, scale=scale) == pytest.approx(expected)
    assert group_relative([0.1] * 3, scale=scale) == [0.0] * 3


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (0.5, 1.0), (0.9, 0.0)])
def test_advantages_are_the_discounted_sum_of_what_surprises(gamma: float, lam: float) -> None:
    drawn = np.random.default_rng(0)
    lengths = (3, 1, 4)
    rewards = [list(drawn.normal(size=n)) for n in lengths]
    values = [list(drawn.normal(size=n)) for n in lengths]
    flat_r, flat_v = np.concatenate(rewards), np.concatenate(values)
    ends = set(np.cumsum(lengths) - 1)
    discount = np.array([gamma if t in ends else 1.0 for t in range(sum(lengths))])
    after = np.append(flat_v[1:], 0.0)
    surprise = flat_r + discount * after - flat_v
    expected = [
        sum(surprise[u] * np.prod(discount[t:u]) * lam ** (u - t) for u in range(t, sum(lengths)))
        for t in range(sum(lengths))
    ]
    found = generalized_advantages(rewards, values, gamma=gamma, lam=lam)
    assert found.advantage == pytest.approx(expected)
    assert found.returns == pytest.approx(np.array(expected) + flat_v)


def setting(model: Any, *, rows: int = 2, temperature: float = 1.0, cost: Any = None) -> Setting:
    return Setting(
        play=None,  # type: ignore[arg-type]
        engine=Engine(model, Objective(), temperature=temperature),
        base=None,
        speaker=None,
        rows_per_batch=rows,
        answer_batch=8,
        compute_dtype=torch.float32,
        pad_token_id=0,
        cost=cost,
        device=torch.device("cpu"),
        ranks=ALONE,
    )


def a_model() -> Any:
    model = build("llama").float()
    model.set_attn_implementation("eager")
    return model


def drawn_lessons(model: Any, *, seed: int = 0) -> list[Lesson]:
    """Return ragged rows whose old and base policies are near the model, so that some ratios are clipped."""
    generator = torch.Generator().manual_seed(seed)
    lessons = []
    for prompt, reply in ((3, 4), (5, 2), (2, 6), (4, 1)):
        ids = torch.randint(3, 90, (prompt + reply,), generator=generator)
        with torch.no_grad():
            logits_TV = model(ids[None], use_cache=False).logits[0].double()
        logp = torch.log_softmax(logits_TV, -1)[torch.arange(prompt - 1, prompt + reply - 1), ids[prompt:]]
        near = [tuple((logp + 0.5 * torch.randn(reply, generator=generator)).tolist()) for _ in range(2)]
        worth = [tuple(torch.randn(reply, generator=generator).tolist()) for _ in range(3)]
        lessons.append(Lesson(Encoded(tuple(ids.tolist()), prompt), near[0], near[1], *worth))
    return lessons


def logp_of(model: Any, lesson: Lesson, *, temperature: float = 1.0) -> torch.Tensor:
    ids, prompt = torch.tensor(lesson.row.input_ids), lesson.row.n_prompt
    logits_TV = model(ids[None], use_cache=False).logits[0].double() / temperature
    return torch.log_softmax(logits_TV, -1)[torch.arange(prompt - 1, len(ids) - 1), ids[prompt:]]


def stepped(method: OnPolicy, lessons: list[Lesson]) -> tuple[float, dict[str, torch.Tensor], dict[str, float]]:
    """Return the loss of one step over these lessons, its gradients and its sums."""
    method._ahead.append(lessons)
    batches = method.next_step()
    totals = method.totals(batches)
    sums: dict[str, float] = {}
    method.setting.engine.model.zero_grad()
    for batch in batches:
        out = method.loss(batch, totals)
        out.loss.backward()
        for name, value in out.sums.items():
            sums[name] = sums.get(name, 0.0) + float(value)
    model = method.setting.engine.model
    return sums["loss"], {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}, sums


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_grpo_is_its_formula(loss_type: str, temperature: float) -> None:
    model = a_model()
    lessons = drawn_lessons(model)
    options = GRPO(
        num_iterations=2, loss_type=loss_type, beta=0.1, epsilon_high=0.3, max_new_tokens=9, temperature=temperature
    )  # type: ignore[arg-type]
    method = GroupRelative(setting(model, temperature=temperature), 1, 1, options)
    loss, gradients, sums = stepped(method, lessons)
    terms, cut = [], 0
    for lesson in lessons:
        logp = logp_of(model, lesson, temperature=temperature).detach().numpy()
        advantage, ratio = np.array(lesson.advantage), np.exp(logp - np.array(lesson.old_logp))
        apart = np.array(lesson.base_logp) - logp
        bounded = np.clip(ratio, 0.8, 1.3) * advantage
        cut += int((bounded < ratio * advantage).sum())
        terms.append(-np.minimum(ratio * advantage, bounded) + 0.1 * (np.exp(apart) - apart - 1))
    divided = {
        "dapo": sum(map(np.sum, terms)) / sum(map(len, terms)),
        "grpo": np.mean([np.mean(term) for term in terms]),
        "dr_grpo": sum(map(np.sum, terms)) / (len(terms) * 9),
    }
    assert loss == pytest.approx(divided[loss_type], rel=1e-4)
    assert sums["clipped"] == cut > 0
    assert max(float(g.abs().max()) for g in gradients.values()) > 0


def test_where_no_ratio_has_moved_the_gradient_is_reinforce() -> None:
    model = a_model()
    lessons = drawn_lessons(model)
    with torch.no_grad():
        lessons = [
            Lesson(lesson.row, tuple(logp_of(model, lesson).tolist()), (), lesson.advantage) for lesson in lessons
        ]
    _, found, sums = stepped(GroupRelative(setting(model), 1, 1, GRPO()), lessons)
    model.zero_grad()
    tokens = sum(lesson.row.n_learned for lesson in lessons)
    for lesson in lessons:
        (-(torch.tensor(lesson.advantage) * logp_of(model, lesson)).sum() / tokens).backward()
    assert sums["clipped"] == 0
    for name, parameter in model.named_parameters():
        assert torch.allclose(found[name], parameter.grad, atol=1e-6), name


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_micro_batches_do_not_change_the_step(rows: int) -> None:
    whole, parted = (
        stepped(GroupRelative(setting(a_model(), rows=size), 1, 1, GRPO(beta=0.1)), drawn_lessons(a_model()))
        for size in (8, rows)
    )
    assert parted[0] == pytest.approx(whole[0], rel=1e-5)
    for name, gradient in whole[1].items():
        assert torch.allclose(parted[1][name], gradient, atol=1e-6), name


def actor(model: Any, **options: Any) -> ActorCritic:
    critic = Critic(16, hidden=8, seed=1)
    torch.nn.init.normal_(critic.layers[-1].weight, generator=torch.Generator().manual_seed(2))
    made = PPO(**{"cliprange_value": 0.1, "vf_coef": 0.5, **options})
    return ActorCritic(setting(model), 1, 1, made, critic, learning_rate=0.01, max_grad_norm=0.0)


def test_ppo_is_its_formula() -> None:
    model = a_model()
    method = actor(model)
    lessons = drawn_lessons(model)
    loss, _, sums = stepped(method, lessons)
    policy, value_terms = [], []
    for lesson in lessons:
        ids, prompt = torch.tensor(lesson.row.input_ids), lesson.row.n_prompt
        with torch.no_grad():
            hidden_TH = model.model(ids[None], use_cache=False).last_hidden_state[0]
            value = method.critic(hidden_TH[prompt - 1 : len(ids) - 1]).double().numpy()
            logp = logp_of(model, lesson).numpy()
        advantage, ratio = np.array(lesson.advantage), np.exp(logp - np.array(lesson.old_logp))
        policy.append(-np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage))
        old, returns = np.array(lesson.old_value), np.array(lesson.returns)
        near = old + np.clip(value - old, -0.1, 0.1)
        value_terms.append(0.5 * np.maximum((value - returns) ** 2, (near - returns) ** 2))
    tokens = sum(map(len, policy))
    expected = (sum(map(np.sum, policy)) + 0.5 * sum(map(np.sum, value_terms))) / tokens
    assert loss == pytest.approx(expected, rel=1e-4)
    assert sums["value_loss"] == pytest.approx(sum(map(np.sum, value_terms)), rel=1e-4)


def test_a_detached_critic_leaves_the_model_to_the_policy() -> None:
    grads = {}
    for trunk, vf_coef in (("shared", 0.5), ("detached", 0.5), ("shared", 0.0)):
        method = actor(a_model(), value_trunk=trunk, vf_coef=vf_coef)
        grads[trunk, vf_coef] = stepped(method, drawn_lessons(a_model()))[1]["model.layers.0.mlp.up_proj.weight"]
        learns = method.critic.layers[0].weight.grad
        assert learns is not None
        assert bool(learns.abs().sum() > 0) == (vf_coef > 0)
    assert torch.allclose(grads["detached", 0.5], grads["shared", 0.0], atol=1e-7)
    assert not torch.allclose(grads["shared", 0.5], grads["shared", 0.0], atol=1e-5)


def test_a_critic_learns_what_states_are_worth_and_travels_in_the_cursor() -> None:
    model = a_model()
    method = actor(model, value_trunk="detached", cliprange_value=None)
    lessons = drawn_lessons(model)
    first = stepped(method, lessons)[2]["value_loss"]
    method.stepped()
    for _ in range(60):
        last = stepped(method, lessons)[2]["value_loss"]
        method.stepped()
    assert last < 0.5 * first
    other = actor(model, value_trunk="detached", cliprange_value=None)
    other.seek(method.cursor)
    for one in (method, other):
        stepped(one, lessons)
        one.stepped()
    for (name, mine), (_, theirs) in zip(
        method.critic.state_dict().items(), other.critic.state_dict().items(), strict=True
    ):
        assert torch.equal(mine, theirs), name


def test_a_kl_in_the_reward_is_paid_at_every_token_and_success_at_the_last() -> None:
    method = actor(a_model(), kl_coef=0.1)
    paid = method._rewards(1.0, (-1.0, -2.0, -3.0), (-1.5, -2.0, -1.0))
    assert paid == pytest.approx([-0.05, 0.0, 1.0 + 0.2])


def test_advantages_are_normalized_over_the_rollout() -> None:
    method = actor(a_model())
    rows = [lesson.row for lesson in drawn_lessons(a_model())]
    turns = [SimpleNamespace(row=row, reward=float(n % 2)) for n, row in enumerate(rows)]
    groups: Any = [[SimpleNamespace(turns=[turn])] for turn in turns]
    flat = [tuple([-1.0] * row.n_learned) for row in rows]
    zeros = [tuple([0.0] * row.n_learned) for row in rows]
    made = method.lessons(groups, SimpleNamespace(logp=flat, value=zeros), [()] * len(rows))  # type: ignore[arg-type]
    every = np.concatenate([lesson.advantage for lesson in made])
    assert every.mean() == pytest.approx(0.0, abs=1e-6)
    assert every.std() == pytest.approx(1.0, abs=1e-6)
    assert [lesson.returns[-1] for lesson in made] == [0.0, 1.0, 0.0, 1.0]


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # PEFT asks for it
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize("part", ["lora", "attention"])
@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_only_what_learns_takes_the_step(architecture: str, part: str, kind: str) -> None:
    model = build(architecture).float()
    if part == "lora":
        model = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name if part == "lora" else "self_attn" in name)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    method = actor(model) if kind == "ppo" else GroupRelative(setting(model), 1, 1, GRPO(beta=0.1))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    stepped(method, drawn_lessons(a_model()))
    optimizer.step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved
    assert all(("lora_B" if part == "lora" else "self_attn") in name for name in moved)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (lambda: GRPO(num_generations=1), "its own mean"),
        (lambda: GRPO(temperature=0.0), "greedy answers are all alike"),
        (lambda: GRPO(epsilon=1.5), "epsilon"),
        (lambda: GRPO(loss_type="bnpo"), "loss_type"),  # type: ignore[arg-type]
        (lambda: GRPO(reward="score"), "reward"),  # type: ignore[arg-type]
        (lambda: PPO(lam=1.5), "lam"),
        (lambda: PPO(num_ppo_epochs=0), "num_ppo_epochs"),
        (lambda: PPO(value_trunk="own"), "value_trunk"),  # type: ignore[arg-type]
    ],
)
def test_options_that_make_no_sense_are_refused(options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        options()
