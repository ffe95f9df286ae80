"""Likeness of hidden states: kernel alignment by its definition, and models beside themselves."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
import transformers

import tiny_base
from holdfast.data.encode import questions
from holdfast.diagnose.hidden_states import cka, hidden_likeness
from holdfast.diagnose.spectral import Tuned
from holdfast.evaluate.suite import make_all
from holdfast.plan import check
from holdfast.spectral.haar import haar


def hsic_by_definition(first, second):
    """The U-statistic over all ordered quadruples: E[k(i,j) l(i,j) + k(i,j) l(q,r) − 2 k(i,j) l(i,q)]."""
    told = [
        first[i, j] * second[i, j] + first[i, j] * second[q, r] - 2 * first[i, j] * second[i, q]
        for i, j, q, r in permutations(range(len(first)), 4)
    ]
    return np.mean(told)


def test_kernel_alignment_is_that_of_its_definition():
    draw = np.random.default_rng(0)
    one = draw.normal(size=(7, 3))
    other = one @ draw.normal(size=(3, 5)) + 0.5 * draw.normal(size=(7, 5)) + 2.0
    k, m = one @ one.T, other @ other.T
    expected = hsic_by_definition(k, m) / np.sqrt(hsic_by_definition(k, k) * hsic_by_definition(m, m))
    assert cka(torch.tensor(one), torch.tensor(other)) == pytest.approx(expected, rel=1e-9)


def test_kernel_alignment_ignores_rotation_and_scale_and_is_none_for_unrelated_states():
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(60, 200, generator=draw)
    turned = 3 * states.double() @ haar(200, 200, seed=1) + 5
    assert cka(states, turned) == pytest.approx(1, abs=1e-9)
    unrelated = [cka(states, torch.randn(60, 200, generator=draw)) for _ in range(6)]
    assert abs(np.mean(unrelated)) < 0.1  # the usual, biased estimate gives 0.8 here
    assert cka(states, torch.ones(60, 4)) is None
    assert cka(states[:3], states[:3]) is None


def test_a_model_is_like_itself_and_less_like_another(tmp_path):
    base, other = tiny_base.write(tmp_path / "base"), tiny_base.write(tmp_path / "other", seed=1)
    suite = {"environment": "general_points", "rule": "faces_as_10", "purpose": "id", "split": "train", "size": 9}
    recipe = check(
        {
            "model_name_or_path": str(base),
            "data": {"environment": "general_points", "rule": "faces_as_10", "size": 8},
            "suites": {"seen": suite},
            "budget": {"steps": 1},
            "learning_rate": 1e-3,
            "per_device_eval_batch_size": 4,
        },
        source="test",
    )
    tuned = [Tuned("itself", str(base)), Tuned("other", str(other))]
    told = hidden_likeness(recipe, str(base), tuned, said=lambda _: None)
    assert [one.layer for one in told] == [0, 1, 2] * 2
    for one in told[:3]:
        assert one.cosine.value == pytest.approx(1, abs=1e-6)
        assert one.cosine.n == 9
    assert all(one.cka in (None, pytest.approx(1, abs=1e-6)) for one in told[:3])
    assert max(abs(one.cosine.value) for one in told[3:]) < 0.9
    models = [transformers.AutoModelForCausalLM.from_pretrained(place) for place in (base, other)]
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    (suite,) = make_all(recipe)
    cosines = []
    for prompt in questions(tokenizer, [suite.environment.prompt(step) for _, step in suite.steps()]):
        with torch.no_grad():
            states = [model(torch.tensor([prompt.input_ids]), output_hidden_states=True) for model in models]
        last = [torch.stack(one.hidden_states)[:, 0, -1].double() for one in states]
        cosines.append(torch.cosine_similarity(*last, dim=1))
    expected = torch.stack(cosines).mean(0)
    assert [one.cosine.value for one in told[3:]] == pytest.approx(expected.tolist(), abs=0.02)  # bfloat16
