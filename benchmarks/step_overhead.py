"""What a training step costs: a flat PyTorch loop of thirty lines, holdfast, and TRL, on the same rows.

    python benchmarks/step_overhead.py [--model pocket] [--steps 20] [--threads 1]

All three train every weight of a model in bfloat16 with float32 masters, AdamW, clipping, and 128 rows a step. They run
in one process and take turns, step by step, so that whatever else the machine does hits all three alike; reported are
medians and the median of the ratios of neighbors.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import transformers
from accelerate import Accelerator

from holdfast.data.batches import Batches, collate
from holdfast.data.sources import EnvironmentRows
from holdfast.environments.general_points import GeneralPoints
from holdfast.models.compute import set_masters
from holdfast.models.counting import cost
from holdfast.models.load import load
from holdfast.objectives.engine import Engine
from holdfast.objectives.nll import NLL
from holdfast.train.loop import Loop
from holdfast.train.sft import SFT
from holdfast.train.stepping import Settings

ROWS = 128
RATE = 1e-4


class Turns:
    """Lets several loops in threads take one step each, in turn, and notes how long each step took."""

    def __init__(self) -> None:
        self.go, self.done = threading.Event(), threading.Event()

    def step_ended(self) -> None:
        self.done.set()
        self.go.wait()
        self.go.clear()

    def timed(self) -> float:
        self.done.clear()
        started = time.perf_counter()
        self.go.set()
        self.done.wait()
        return time.perf_counter() - started


def flat(model: Any, rows: Any, pad: int, steps: int, step_ended: Callable[[], None]) -> None:
    """The thirty lines that a researcher would write."""
    model.float().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0, fused=True)
    step_ended()
    for step in range(steps):
        batch = collate(rows.take(range(step * ROWS, (step + 1) * ROWS)), pad_token_id=pad).tensors()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        step_ended()


def ours(model: Any, rows: Any, pad: int, steps: int, step_ended: Callable[[], None]) -> None:
    """The loop of holdfast with everything it does at a step: FLOPs, metrics, checks."""
    names = [name for name, _ in model.named_parameters()]
    set_masters(model, names)
    batches = Batches(rows, seed=0, per_device_train_batch_size=ROWS, pad_token_id=pad)
    method = SFT(Engine(model, NLL()), batches, cost(model, names), torch.device("cpu"))
    settings = Settings(steps=steps, learning_rate=RATE, logging_steps=1, compute_dtype=torch.bfloat16)
    loop = Loop(model, method, settings=settings, accelerator=Accelerator(cpu=True))
    step_ended()
    loop.run(moments=(), on_moment=lambda _: None, on_log=lambda _: step_ended(), save=lambda _: None)


def trl_sft(model: Any, rows: Any, tokenizer: Any, steps: int, step_ended: Callable[[], None]) -> None:
    """TRL's SFTTrainer on the same rows, already encoded."""
    import datasets
    import trl

    encoded = rows.take(range(steps * ROWS))
    table = datasets.Dataset.from_list(
        [
            {
                "input_ids": list(row.input_ids),
                "completion_mask": [int(at >= row.n_prompt) for at in range(len(row.input_ids))],
            }
            for row in encoded
        ]
    )

    class Turn(transformers.TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            step_ended()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            step_ended()

    with tempfile.TemporaryDirectory() as folder:
        arguments = trl.SFTConfig(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=ROWS, learning_rate=RATE, bf16=True,
            use_cpu=True, gradient_checkpointing=False, completion_only_loss=True, report_to="none", save_strategy="no",
            lr_scheduler_type="constant", logging_steps=1, disable_tqdm=True, max_length=None,
        )  # fmt: skip
        trainer = trl.SFTTrainer(
            model.float(), arguments, train_dataset=table, processing_class=tokenizer, callbacks=[Turn()]
        )
        trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
        trainer.train()


def main() -> None:
    """Run all three side by side and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    warnings.simplefilter("ignore")  # the libraries' deprecations would drown the table
    transformers.utils.logging.disable_progress_bar()

    environment = GeneralPoints(prompt_style="terse", answer_format="values_formula")
    loaded = [load(chosen.model, attn_implementation="eager") for _ in range(3)]
    rows = EnvironmentRows(
        environment, rule="faces_as_10", split="train", seed=0, size=ROWS * chosen.steps, tokenizer=loaded[0].tokenizer
    )
    rows.take(range(ROWS * chosen.steps))
    pad = loaded[0].tokenizer.pad_token_id
    turns = {name: Turns() for name in ("flat PyTorch loop", "holdfast", "TRL")}
    work = {
        "flat PyTorch loop": lambda t: flat(loaded[0].model, rows, pad, chosen.steps, t.step_ended),
        "holdfast": lambda t: ours(loaded[1].model, rows, pad, chosen.steps, t.step_ended),
        "TRL": lambda t: trl_sft(loaded[2].model, rows, loaded[2].tokenizer, chosen.steps, t.step_ended),
    }
    for name, turn in turns.items():
        threading.Thread(target=work[name], args=(turn,), daemon=True).start()
        turn.done.wait()
    times: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(chosen.steps):
        for name, turn in turns.items():
            times[name].append(turn.timed())
    kept = {name: seconds[2:] for name, seconds in times.items()}  # the first steps fill caches
    base = kept["flat PyTorch loop"]
    print(f"| {chosen.threads} thread(s), {len(base)} steps each | median s/step | median of ratios to the flat loop |")
    print("|---|---|---|")
    for name, seconds in kept.items():
        ratio = statistics.median(mine / other for mine, other in zip(seconds, base, strict=True))
        print(f"| {name} | {statistics.median(seconds):.3f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
