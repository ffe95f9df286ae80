"""Our loop against stock TRL: same rows, same order, same numbers."""

from __future__ import annotations

import warnings
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from holdfast.data.batches import Batches
from holdfast.data.encode import Encoded
from holdfast.models.compute import set_masters
from holdfast.models.counting import cost
from holdfast.objectives.dft import DFT
from holdfast.objectives.engine import Engine
from holdfast.objectives.nll import NLL
from holdfast.train.loop import Loop
from holdfast.train.sft import SFT
from holdfast.train.stepping import Settings
from tiny_models import build

trl = pytest.importorskip("trl")

STEPS, ROWS, ACCUMULATION = 20, 4, 2


def ragged_rows(count: int) -> list[Encoded]:
    rng = Random(0)
    rows = []
    for _ in range(count):
        prompt, answer = rng.randint(2, 9), rng.randint(1, 12)
        asked, learned = [rng.randint(3, 90) for _ in range(prompt)], [rng.randint(3, 5) for _ in range(answer)]
        rows.append(Encoded((*asked, *learned), prompt))
    return rows


class Rows:
    """Encoded rows as a source."""

    def __init__(self, rows: list[Encoded]) -> None:
        self.rows = rows

    @property
    def starts(self) -> range:
        return range(len(self.rows))

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: Any) -> list[Encoded]:
        return [self.rows[index] for index in indices]

    def pictured(self) -> None:
        return None

    def fingerprint(self) -> str:
        return ""


def ours(rows: list[Encoded], objective: Any) -> tuple[list[float], list[int]]:
    model = build("llama")
    names = [name for name, _ in model.named_parameters()]
    set_masters(model, names)
    batches = Batches(Rows(rows), seed=0, per_device_train_batch_size=ROWS, gradient_accumulation_steps=ACCUMULATION)
    order = [number for _ in range(STEPS) for batch in batches.next_step() for number in batch.row_numbers]
    batches.seek({"epoch": 0, "index": 0})
    method = SFT(Engine(model, objective), batches, cost(model, names), torch.device("cpu"))
    settings = Settings(steps=STEPS, learning_rate=1e-2, lr_scheduler_type="constant", logging_steps=1)
    losses: list[float] = []
    Loop(model, method, settings=settings, accelerator=Accelerator(cpu=True)).run(
        moments=(), on_moment=lambda _: None, on_log=lambda line: losses.append(line["loss"]), save=lambda _: None
    )
    return losses, order


def theirs(rows: list[Encoded], order: list[int], loss_type: str, folder: Path) -> list[float]:
    import datasets

    ordered = [rows[number] for number in order]
    table = datasets.Dataset.from_list(
        [
            {
                "input_ids": list(row.input_ids),
                "completion_mask": [int(at >= row.n_prompt) for at in range(len(row.input_ids))],
            }
            for row in ordered
        ]
    )
    from tiny_run import tokenizer

    arguments = trl.SFTConfig(
        output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=ROWS, learning_rate=1e-2,
        gradient_accumulation_steps=ACCUMULATION, lr_scheduler_type="constant", logging_steps=1, loss_type=loss_type,
        completion_only_loss=True,  # or TRL ignores the completion mask without a word
        train_sampling_strategy="sequential", bf16=False, use_cpu=True, gradient_checkpointing=False, report_to="none",
        save_strategy="no", disable_tqdm=True, max_length=None, weight_decay=0.0, max_grad_norm=1.0,
    )  # fmt: skip
    trainer = trl.SFTTrainer(build("llama"), arguments, train_dataset=table, processing_class=tokenizer())
    trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "loss_type"), [(NLL(), "nll"), (DFT(), "dft")])
def test_our_loss_curve_is_that_of_trl(objective: Any, loss_type: str, tmp_path: Path) -> None:
    rows = ragged_rows(STEPS * ROWS * ACCUMULATION)
    mine, order = ours(rows, objective)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TRL's own deprecations are not ours to mend
        other = theirs(rows, order, loss_type, tmp_path)
    assert len(mine) == len(other) == STEPS
    assert mine == pytest.approx(other, abs=1e-5)
    assert abs(mine[-1] / mine[0] - 1) > 0.1  # a curve that moves, so that equality means something
