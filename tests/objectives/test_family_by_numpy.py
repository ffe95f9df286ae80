"""Every objective's loss and gradient against its formula, written again in float64 NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from objective_kit import engine_gradients, ragged

import tiny_models
from holdfast.members import build
from holdfast.objectives import OBJECTIVES
from holdfast.objectives.engine import Engine
from holdfast.objectives.nll import NLL


class Case(NamedTuple):
    """What a reference sees: logits (N, V) of the model and the base, targets, old log p, and answers' numbers (N,)."""

    z: np.ndarray
    base: np.ndarray
    target: np.ndarray
    old: np.ndarray
    answer: np.ndarray

    @property
    def at(self):
        return np.arange(len(self.target)), self.target

    def onehot(self):
        return np.eye(self.z.shape[1])[self.target]


def log_softmax(z):
    return z - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True)) - z.max(1, keepdims=True)


def by_answer(values, answer):
    return np.array([values[answer == one].mean() for one in answer])


def weighted(weight: Callable[[Case, np.ndarray], np.ndarray]):
    """A reference of the form Σ w · -log p with constant w."""

    def reference(case):
        logp = log_softmax(case.z)
        w = weight(case, logp[case.at])
        return (-w * logp[case.at]).sum(), w[:, None] * (np.exp(logp) - case.onehot())

    return reference


def entropy_weight(case, _):
    top = -np.sort(-log_softmax(case.z), axis=1)[:, :20]
    p = np.exp(top) / np.exp(top).sum(1, keepdims=True)
    return -(p * np.log(p)).sum(1) / np.log(20)


def ratio(case, logp):
    return np.exp(logp - case.old)


def iw(case, logp):
    base = log_softmax(case.base)[case.at]
    return np.minimum(np.exp(by_answer(logp, case.answer) - by_answer(base, case.answer)), 1.05)


def anchored(weight, strength, *, from_base):
    def reference(case):
        loss, gradient = weighted(weight)(case)
        here, there = log_softmax(case.z), log_softmax(case.base)
        if from_base:
            kl = (np.exp(there) * (there - here)).sum(1)
            return loss + strength * kl.sum(), gradient + strength * (np.exp(here) - np.exp(there))
        kl = (np.exp(here) * (here - there)).sum(1)
        return loss + strength * kl.sum(), gradient + strength * np.exp(here) * (here - there - kl[:, None])

    return reference


def label_smoothing(case):
    logp, V = log_softmax(case.z), case.z.shape[1]
    loss = (-0.9 * logp[case.at] - 0.1 / V * logp.sum(1)).sum()
    return loss, np.exp(logp) - 0.9 * case.onehot() - 0.1 / V


def gem(case):
    q = np.exp(log_softmax(case.z / 0.7))
    return ((q * case.z).sum(1) - case.z[case.at]).sum(), q - case.onehot()


REFERENCES = {
    "nll": ("nll", weighted(lambda case, logp: np.ones_like(logp))),
    "dft": ("dft", weighted(lambda case, logp: np.exp(logp))),
    "power": (
        {"name": "power", "alpha": 2.0, "floor": 1e-4},
        weighted(lambda case, logp: np.maximum(np.exp(2 * logp), 1e-4)),
    ),
    "focal": ({"name": "power", "alpha": 0.0, "gamma": 2.0}, weighted(lambda c, logp: (1 - np.exp(logp)) ** 2)),
    "threshold of the base": (
        {"name": "threshold", "least": 0.01},
        weighted(lambda case, logp: (np.exp(log_softmax(case.base)[case.at]) >= 0.01) * 1.0),
    ),
    "threshold of the model": (
        {"name": "threshold", "least": 0.01, "of": "model"},
        weighted(lambda case, logp: (np.exp(logp) >= 0.01) * 1.0),
    ),
    "entropy": ("entropy", weighted(entropy_weight)),
    "proximal": ("proximal", weighted(lambda c, logp: ratio(c, logp) * (ratio(c, logp) <= 1.28))),
    "importance of answers": ({"name": "importance", "most": 1.05}, weighted(iw)),
    "importance of tokens": (
        {"name": "importance", "per": "token"},
        weighted(lambda c, logp: np.clip(np.exp(logp - log_softmax(c.base)[c.at]), 0.2, 1.8)),
    ),
    "sample_weighted": (
        {"name": "sample_weighted", "temperature": 3.0},
        weighted(lambda c, logp: np.exp(by_answer(log_softmax(c.base)[c.at], c.answer) / 3)),
    ),
    "anchored": ("anchored", anchored(lambda case, logp: np.exp(logp), 0.05, from_base=True)),
    "anchored the other way": (
        {"name": "anchored", "on": "nll", "strength": 2.0, "direction": "to_base"},
        anchored(lambda case, logp: np.ones_like(logp), 2.0, from_base=False),
    ),
    "anchored on smoothing": (
        {"name": "anchored", "on": "label_smoothing", "strength": 0.5},
        lambda case: tuple(
            a + b
            for a, b in zip(
                label_smoothing(case),
                anchored(lambda c, logp: np.zeros_like(logp), 0.5, from_base=True)(case),
                strict=True,
            )
        ),
    ),
    "label_smoothing": ("label_smoothing", label_smoothing),
    "gem": ("gem", gem),
}  # fmt: skip


def test_every_member_has_a_reference():
    named = {spec if isinstance(spec, str) else spec["name"] for spec, _ in REFERENCES.values()}
    assert named == set(OBJECTIVES)


@pytest.fixture(scope="module")
def worlds():
    """A model, its base, a ragged batch with old log-probabilities, and what a reference sees of them."""
    model, base = (tiny_models.build("llama", seed=seed).double() for seed in (0, 1))
    batch = ragged()
    with torch.no_grad():
        old = Engine(tiny_models.build("llama", seed=2).double(), NLL()).logp(batch).logp_BT
    learned = batch["labels"][:, 1:] != -100
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        z, there = (one(**inputs, use_cache=False).logits[:, :-1][learned].numpy() for one in (model, base))
    answer = torch.arange(len(learned))[:, None].expand_as(learned)[learned].numpy()
    case = Case(z, there, batch["labels"][:, 1:][learned].numpy(), old[:, 1:][learned].numpy(), answer)
    hidden = {}
    handle = model.lm_head.register_forward_pre_hook(lambda _m, args: hidden.update(all=args[0]))
    with torch.no_grad():
        model(**inputs, use_cache=False)
    handle.remove()
    return model, base, {**batch, "old_logp": old}, case, hidden["all"][:, :-1][learned].numpy()


@pytest.mark.parametrize("name", REFERENCES)
def test_loss_and_gradient_are_those_of_the_formula(name, worlds):
    model, base, batch, case, hidden = worlds
    spec, reference = REFERENCES[name]
    loss, gradient = reference(case)
    objective = build("objective", spec, OBJECTIVES)
    told, found = engine_gradients(model, objective, [batch], base=base)
    n = len(case.target)
    assert told == pytest.approx(loss / n, rel=1e-10)
    expected = (gradient / n).T @ hidden
    np.testing.assert_allclose(found["lm_head.weight"].numpy(), expected, rtol=1e-8, atol=1e-12 * abs(expected).max())


@pytest.mark.parametrize("name", REFERENCES)
def test_neither_chunks_nor_the_split_into_micro_batches_change_the_step(name, worlds):
    model, base, batch, _, _ = worlds
    objective = build("objective", REFERENCES[name][0], OBJECTIVES)
    whole, expected = engine_gradients(model, objective, [batch], base=base)
    parts = [{key: value[i : i + 2] for key, value in batch.items()} for i in range(0, 8, 2)]
    split, found = engine_gradients(model, objective, parts, base=base, chunk_rows=3)
    assert split == pytest.approx(whole, rel=1e-10)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-8, atol=1e-10)
