"""DPO: the formula against a few lines of NumPy, against TRL, and in whole runs."""

from __future__ import annotations

import json
import os
import signal
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import peft
import pytest
import torch
from accelerate import Accelerator

import tiny_base
from holdfast.data.batches import Batches
from holdfast.data.encode import Encoded
from holdfast.data.sources import TokenRows
from holdfast.errors import DataError, RecipeError
from holdfast.methods.dpo import DPO
from holdfast.methods.preference import Preference
from holdfast.models.compute import set_masters
from holdfast.models.counting import cost
from holdfast.models.ranks import ALONE
from holdfast.objectives.base import Objective
from holdfast.objectives.engine import Engine
from holdfast.plan import check, plan
from holdfast.run import run
from holdfast.train.loop import Loop
from holdfast.train.progress import Silent
from holdfast.train.stepping import Settings
from tiny_models import build

END = 2


def ragged_pairs(count: int, *, seed: int = 0) -> list[Encoded]:
    """Return two rows of each pair, of unequal lengths, each ended."""
    rng, rows = Random(seed), []
    for _ in range(count):
        prompt = [rng.randint(3, 90) for _ in range(rng.randint(2, 9))]
        for low, high in ((3, 20), (15, 60)):
            rows.append(
                Encoded((*prompt, *(rng.randint(low, high) for _ in range(rng.randint(1, 8))), END), len(prompt))
            )
    return rows


def method_of(
    model: Any, rows: Sequence[Encoded], options: DPO, *, pairs: int = 8, accumulation: int = 1, share: Any = "never"
) -> Preference:
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    set_masters(model, names)
    batches = Batches(
        TokenRows(rows, each=2), seed=0, per_device_train_batch_size=2 * pairs,
        gradient_accumulation_steps=accumulation, share_prefixes=share,
    )  # fmt: skip
    made = Preference(
        options,
        Engine(model, Objective()),
        batches,
        cost(model, names, shared=share != "never"),
        torch.device("cpu"),
        ALONE,
    )
    made.ask_base(steps=1_000, forward=cost(model, (), shared=share != "never"), compute_dtype=torch.float32)
    return made


def one_step(method: Preference) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Return what a step logs, and its gradients."""
    batches = method.next_step()
    totals, sums = method.totals(batches), dict[str, float]()
    for batch in batches:
        out = method.loss(batch, totals)
        out.loss.backward()
        sums = {name: sums.get(name, 0.0) + float(value) for name, value in out.sums.items()}
    model = method.engine.model
    grads = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return dict(method.summarize(sums)), grads


def moved(model: Any, *, by: float = 0.05) -> None:
    """Move the weights that learn away from the base, the same way at every call."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += by * torch.randn(weight.shape, generator=generator)


def answer_logps(model: Any, row: Encoded) -> np.ndarray[Any, Any]:
    """Return the log-probability of each token of an answer in float64, from plain logits."""
    with torch.no_grad():
        logits_TV = model(torch.tensor([row.input_ids])).logits[0].double().numpy()
    logp_TV = logits_TV - np.log(np.exp(logits_TV).sum(1, keepdims=True))
    return np.array([logp_TV[at - 1, row.input_ids[at]] for at in range(row.n_prompt, len(row.input_ids))])


@pytest.mark.parametrize("loss_type", ["sigmoid", "ipo"])
def test_the_loss_and_all_that_is_logged_are_those_of_numpy(loss_type: Any) -> None:
    rows, model, beta = ragged_pairs(8), build("llama"), 0.3
    base = [answer_logps(model, row) for row in rows]
    method = method_of(model, rows, DPO(beta=beta, loss_type=loss_type))
    moved(model)
    now = [answer_logps(model, row) for row in rows]
    told, _ = one_step(method)
    change = np.array([a.sum() - b.sum() for a, b in zip(now, base, strict=True)])
    margin = change[0::2] - change[1::2]
    losses = np.log1p(np.exp(-beta * margin))
    if loss_type == "ipo":
        mean = np.array([a.mean() - b.mean() for a, b in zip(now, base, strict=True)])
        losses = (mean[0::2] - mean[1::2] - 1 / (2 * beta)) ** 2
    assert told == pytest.approx(
        {
            "loss": losses.mean(),
            "chosen_logp": np.mean([one.sum() for one in now[0::2]]),
            "rejected_logp": np.mean([one.sum() for one in now[1::2]]),
            "rewards_chosen": beta * change[0::2].mean(),
            "rewards_rejected": beta * change[1::2].mean(),
            "rewards_margin": beta * margin.mean(),
            "accuracy": (margin > 0).mean(),
        },
        rel=1e-4,
        abs=1e-5,
    )
    assert 0 < told["accuracy"] < 1


@pytest.mark.parametrize("share", ["never", "always"])
def test_eight_pairs_make_one_step_however_they_are_cut(share: Any) -> None:
    rows, told, grads = ragged_pairs(8), [], []
    for pairs, accumulation in ((8, 1), (4, 2), (1, 8)):
        model = build("llama")
        method = method_of(model, rows, DPO(), pairs=pairs, accumulation=accumulation, share=share)
        moved(model)
        line, gradient = one_step(method)
        told.append(line)
        grads.append(gradient)
    for line, gradient in zip(told[1:], grads[1:], strict=True):
        assert line == pytest.approx(told[0], rel=1e-5, abs=1e-6)
        for name, value in gradient.items():
            torch.testing.assert_close(value, grads[0][name], rtol=1e-4, atol=1e-6)


def test_the_first_step_knows_no_margin_and_pulls_the_two_apart() -> None:
    model = build("llama")
    method = method_of(model, ragged_pairs(8), DPO())
    told, grads = one_step(method)
    assert told["loss"] == pytest.approx(np.log(2), rel=1e-6)
    assert told["rewards_margin"] == told["rewards_chosen"] == told["accuracy"] == 0.0
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in grads:
                weight -= 1e-2 * grads[name]
    method.batches.seek({"epoch": 0, "index": 0})
    assert one_step(method)[0]["rewards_margin"] > 0


def test_the_base_is_asked_once_for_each_row_and_paid_for() -> None:
    model = build("llama")
    method = method_of(model, ragged_pairs(12), DPO(), pairs=4)
    assert len(method._base) == 24
    forward = cost(model, ())
    price = method.ask_base(steps=2, forward=forward, compute_dtype=torch.float32)
    own = [method.batches.next_step() for _ in range(2)]
    method.batches.seek({"epoch": 0, "index": 0})
    assert price["flops"] == sum(forward.spent([one.tensors()])["flops"] for step in own for one in step)
    assert len(method._base) == 16
    assert method.batches.cursor == {"epoch": 0, "index": 0}


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_adapters_learn_to_prefer_and_nothing_else_moves(architecture: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(
            build(architecture), peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
        )
    check_a_few_steps(model)


def test_attention_alone_learns_to_prefer() -> None:
    model = build("llama")
    for name, weight in model.named_parameters():
        weight.requires_grad_("self_attn" in name)
    check_a_few_steps(model)


def check_a_few_steps(model: Any) -> None:
    frozen = {n: w.detach().clone() for n, w in model.named_parameters() if not w.requires_grad}
    method = method_of(model, ragged_pairs(8), DPO())
    lines = go(model, method, steps=4, rate=1e-2)
    assert lines[0]["loss"] == pytest.approx(np.log(2), rel=1e-6)
    assert lines[-1]["rewards_margin"] > 0
    assert lines[-1]["accuracy"] > 0.5
    assert all(torch.equal(dict(model.named_parameters())[name], before) for name, before in frozen.items())


def go(model: Any, method: Preference, *, steps: int, rate: float) -> list[Mapping[str, float]]:
    lines: list[Mapping[str, float]] = []
    settings = Settings(steps=steps, learning_rate=rate, lr_scheduler_type="constant", logging_steps=1)
    Loop(model, method, settings=settings, accelerator=Accelerator(cpu=True)).run(
        moments=(), on_moment=lambda _: None, on_log=lines.append, save=lambda _: None
    )
    return lines


STEPS, PAIRS, ACCUMULATION = 10, 2, 2


@pytest.mark.slow
@pytest.mark.parametrize("loss_type", ["sigmoid", "ipo"])
def test_our_curve_is_that_of_trl(loss_type: Any, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    rows = ragged_pairs(STEPS * PAIRS * ACCUMULATION)
    model = build("llama")
    method = method_of(model, rows, DPO(loss_type=loss_type), pairs=PAIRS, accumulation=ACCUMULATION)
    order = [n for _ in range(STEPS) for batch in method.batches.next_step() for n in batch.row_numbers]
    method.batches.seek({"epoch": 0, "index": 0})
    mine = go(model, method, steps=STEPS, rate=1e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TRL's own deprecations are not ours to mend
        other = theirs(trl, [rows[number] for number in order], loss_type, tmp_path)
    assert len(mine) == len(other) == STEPS
    for our_name, their_name in (
        ("loss", "loss"), ("rewards_margin", "rewards/margins"), ("rewards_chosen", "rewards/chosen"),
        ("chosen_logp", "logps/chosen"), ("rejected_logp", "logps/rejected"), ("accuracy", "rewards/accuracies"),
    ):  # fmt: skip
        expected = [line[their_name] for line in other]
        assert [line[our_name] for line in mine] == pytest.approx(expected, rel=1e-4, abs=1e-4), our_name
    assert abs(mine[-1]["loss"] / mine[0]["loss"] - 1) > 0.1  # a curve that moves


def theirs(trl: Any, ordered: Sequence[Encoded], loss_type: str, folder: Path) -> list[dict[str, float]]:
    import datasets
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    core = Tokenizer(models.WordLevel({f"w{i}": i for i in range(3, 96)} | {"<pad>": 0, "<s>": 1, "</s>": END}))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", pad_token="<pad>")

    def words(ids: Sequence[int]) -> str:
        return " ".join(f"w{one}" for one in ids if one != END)

    pairs = zip(ordered[0::2], ordered[1::2], strict=True)
    table = datasets.Dataset.from_list(
        [
            {
                "prompt": words(chosen.prompt_ids),
                "chosen": " " + words(chosen.input_ids[chosen.n_prompt :]),
                "rejected": " " + words(rejected.input_ids[rejected.n_prompt :]),
            }
            for chosen, rejected in pairs
        ]
    )
    arguments = trl.DPOConfig(
        output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=PAIRS, learning_rate=1e-2,
        gradient_accumulation_steps=ACCUMULATION, lr_scheduler_type="constant", logging_steps=1, loss_type=[loss_type],
        beta=0.1, train_sampling_strategy="sequential", bf16=False, use_cpu=True, gradient_checkpointing=False,
        report_to="none", save_strategy="no", disable_tqdm=True, max_length=None, weight_decay=0.0, max_grad_norm=1.0,
        precompute_ref_log_probs=True,
    )  # fmt: skip
    trainer = trl.DPOTrainer(build("llama"), args=arguments, train_dataset=table, processing_class=tokenizer)
    trainer.train()
    return [line for line in trainer.state.log_history if "loss" in line]


# ---- pairs of a file, in whole runs


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("dpo")
    rows = [
        {"prompt": "numbers " * (1 + n % 5), "chosen": "cards " * (1 + n % 4), "rejected": "target " * (1 + n % 3)}
        for n in range(24)
    ]
    (folder / "pairs.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return {
        "model_name_or_path": str(tiny_base.write(folder / "base")),
        "attn_implementation": "eager",
        "method": "dpo",
        "data": {"path": str(folder / "pairs.jsonl")},
        "evaluate_at": "end",
        "budget": {"steps": 7},
        "learning_rate": 1e-2,
        "per_device_train_batch_size": 3,
        "gradient_accumulation_steps": 2,
        "logging_steps": 1,
    }


class Interrupting(Silent):
    def logged(self, metrics: Mapping[str, float]) -> None:
        if metrics["step"] == 3:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
def test_a_run_on_a_file_spends_what_was_planned_and_goes_on_where_it_broke_off(
    values: dict[str, Any], tmp_path: Path
) -> None:
    recipe = check(values, source="test")
    planned = plan(recipe)
    assert planned.step.examples == 12
    whole = run(recipe, folder=tmp_path / "whole", planned=planned)
    told = json.loads((whole.folder / "result.json").read_text())
    assert told["spent"]["flops"] == pytest.approx(planned.total.flops, rel=1e-12)
    assert told["spent"]["flops_6nd"] == pytest.approx(planned.total.flops_6nd, rel=1e-12)
    assert whole.records[0].spent["flops"] == pytest.approx(planned.beforehand.spent.flops, rel=1e-12)
    assert planned.beforehand.spent.flops > 0
    lines = [json.loads(line) for line in (whole.folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["rewards_margin"] == 0.0
    assert lines[-1]["accuracy"] == 1.0
    assert lines[-1]["rewards_margin"] > 0.1

    broken = tmp_path / "broken"
    assert run(recipe, folder=broken, progress=Interrupting()).status == "interrupted"
    assert run(recipe, folder=broken).status == "finished"
    assert (broken / "records.jsonl").read_bytes() == (whole.folder / "records.jsonl").read_bytes()


def test_rows_that_compare_nothing_are_named_by_line(values: dict[str, Any], tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "completion": "b"},
        {"prompt": "a", "chosen": "b"},
        {"prompt": "a", "chosen": "b", "rejected": "b"},
        {"prompt": "a", "chosen": "b", "rejected": " "},
        {"chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
         "rejected": [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]},
        {"chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
         "rejected": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "d"}]},
    ]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(DataError) as told:
        plan(check({**values, "data": {"path": str(path)}}, source="test"))
    words = str(told.value)
    assert "5 rows of 6 cannot be used" in words
    assert "line 1: needs prompt, chosen and rejected; chosen and rejected missing" in words
    assert "line 2: needs prompt, chosen and rejected; rejected missing" in words
    assert "line 3: chosen and rejected are the same" in words
    assert "line 4: rejected is empty" in words
    assert "line 5: chosen and rejected do not answer the same messages" in words


def test_what_makes_no_sense_with_dpo_is_refused(values: dict[str, Any]) -> None:
    for change, words in (
        ({"objective": "dft"}, "dpo has a loss of its own"),
        ({"normalize": "examples"}, "normalization of its own"),
        ({"method": {"name": "dpo", "samples": 4}}, "nothing is drawn, and samples do nothing"),
        ({"method": {"name": "dpo", "beta": 0}}, "beta must be above 0"),
        ({"method": {"name": "dpo", "loss_type": "hinge"}}, "sigmoid or ipo"),
        ({"method": {"name": "dpo", "samples": 1}}, "one answer makes no pair"),
    ):
        with pytest.raises(RecipeError, match=words):
            check({**values, **change}, source="test")
