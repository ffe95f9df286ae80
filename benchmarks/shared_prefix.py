"""Shared prefixes beside the padded batch: training steps, teacher-forced scoring, and TRL's trainer on the same rows.

    OMP_NUM_THREADS=1 python benchmarks/shared_prefix.py [--quick]

A random Llama of 4 blocks, 192 wide, vocabulary 1,024. All figures are CPU seconds of one thread, the least of several;
the sides of a row take turns, so that whatever else the machine does hits all alike. A step is forward and backward of
one micro-batch by the engine, without the optimizer; TRL's is from its ``on_step_begin`` to its
``on_pre_optimizer_step``. *Positions* is how many times fewer tokens, padding included, are computed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

from holdfast.data.batches import Batch, SharePrefixes, collate
from holdfast.data.encode import Encoded
from holdfast.data.prefixes import shared_prefixes, worthwhile
from holdfast.environments.navigation.environment import Navigation
from holdfast.models.compute import compute
from holdfast.models.word_tokenizer import build as word_tokenizer
from holdfast.objectives.engine import Engine
from holdfast.objectives.nll import NLL
from holdfast.recipe import Decoding
from holdfast.rollout.forced import argmax_replies
from holdfast.rollout.generate import Reply, generate_from

VOCABULARY = 1024
COMMON, PROMPT, ANSWER = 110, 205, 59
"""The published card prompt: its output block follows the cards, so that only its first half is common to all hands."""


def cards(hands: int, *, solutions: int) -> list[Encoded]:
    """Rows of the published lengths, in random tokens."""
    random = Random(0)

    def some(count: int) -> tuple[int, ...]:
        return tuple(random.randrange(3, VOCABULARY) for _ in range(count))

    task, rows = some(COMMON), []
    for _ in range(hands):
        prompt = (*task, *some(PROMPT - COMMON))
        rows += [Encoded((*prompt, *some(ANSWER - random.randrange(4))), PROMPT) for _ in range(solutions)]
    return rows


def routes(count: int, *, steps: int = 12, prompt_style: str = "paper") -> list[Encoded]:
    """All steps of walks by our own navigation environment, ``steps`` of each, in a vocabulary of its words.

    In the paper's prompt a block of 60 tokens follows the history, so that each step computes it; in a terse one the
    history comes last, and prompts extend each other.
    """
    environment = Navigation(rules=("absolute", "relative"), prompt_style=prompt_style)
    walks = []
    for index in range(1000):
        walk = environment.steps(environment.sample("absolute", "train", index, seed=0))
        if len(walk) == steps:
            walks.append([(environment.prompt(step), environment.demonstrate(step)) for step in walk])
        if len(walks) == count:
            break
    texts = [text for walk in walks for prompt, answer in walk for text in (prompt[0]["content"], answer)]
    tokenizer = word_tokenizer(texts)
    rows = []
    for walk in walks:
        for prompt, answer in walk:
            asked, said = (
                tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt[0]["content"], answer)
            )
            rows.append(Encoded(tuple(token % VOCABULARY for token in (*asked, *said, 1)), len(asked)))
    return rows


def model(attention: str) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=2048, attn_implementation=attention,
    )  # fmt: skip
    return LlamaForCausalLM(config).train()


def seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def in_turns(sides: Mapping[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Return the least CPU seconds of each side."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(repeats + 1):
        for name, work in sides.items():
            spent = seconds(work)
            if number:  # the first round warms up
                taken[name].append(spent)
    return {name: min(times) for name, times in taken.items()}


def training(rows: Sequence[Encoded], dtype: torch.dtype, repeats: int, *, sides: Sequence[str]) -> dict[str, float]:
    """Return CPU seconds of a training step, padded and shared, by attention."""
    padded = collate(rows, pad_token_id=0)
    batches = {"padded": padded, "shared": replace(padded, prefixes=shared_prefixes(rows))}
    engines = {attention: Engine(model(attention), NLL()) for attention in {side.split()[1] for side in sides}}

    def step(engine: Engine, batch: Batch) -> None:
        engine.model.zero_grad(set_to_none=True)
        tensors = batch.tensors()
        with compute(engine.model, dtype):
            engine.loss(tensors, engine.totals([tensors])).loss.backward()

    work = {side: (lambda side=side: step(engines[side.split()[1]], batches[side.split()[0]])) for side in sides}
    return in_turns(work, repeats)


def scoring(rows: Sequence[Encoded], dtype: torch.dtype, repeats: int, *, batch_size: int) -> dict[str, float]:
    """Return CPU seconds of teacher-forced answers to all rows."""
    judge = model("sdpa").eval()

    class Tokenizer:
        pad_token_id = 0

    def answers(share: SharePrefixes) -> list[list[int]]:
        return argmax_replies(judge, Tokenizer(), rows, batch_size=batch_size, compute_dtype=dtype, share=share)

    if dtype == torch.float32:
        assert answers("auto") == answers("never")
    return in_turns({share: (lambda share=share: answers(share)) for share in ("never", "auto")}, repeats)


def generation(rows: Sequence[Encoded], dtype: torch.dtype, repeats: int) -> tuple[dict[str, float], int]:
    """Return CPU seconds of 60 new tokens after each prompt, and how many answers are the same both ways."""
    speaker = model("sdpa").eval()
    tokenizer = word_tokenizer(["a"], numbers=VOCABULARY)  # every token has a text
    prompts = [Encoded(row.prompt_ids, row.n_prompt) for row in rows]

    def answers(share: SharePrefixes) -> list[Reply]:
        decoding = Decoding(max_new_tokens=60)
        return generate_from(
            speaker, tokenizer, prompts, decoding, batch_size=len(rows), compute_dtype=dtype, share=share
        )

    same = sum(a == b for a, b in zip(answers("never"), answers("auto"), strict=True))
    return in_turns({share: (lambda share=share: answers(share)) for share in ("never", "auto")}, repeats), same


def trl_step(rows: Sequence[Encoded], *, packing: bool, repeats: int) -> float:
    """Return the least CPU seconds of TRL's step on all rows at once, padded or packed into its sequences."""
    import datasets
    import trl

    table = datasets.Dataset.from_list(
        [
            {
                "input_ids": list(row.input_ids),
                "completion_mask": [int(at >= row.n_prompt) for at in range(len(row.input_ids))],
            }
            for row in rows
        ]
    )
    taken: list[float] = []

    class Clock(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.start = time.process_time()

        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            taken.append(time.process_time() - self.start)

    tokenizer = word_tokenizer(["a"])
    with tempfile.TemporaryDirectory() as folder:
        arguments = trl.SFTConfig(
            output_dir=folder, max_steps=repeats + 1, per_device_train_batch_size=len(rows), learning_rate=0.0,
            bf16=False, use_cpu=True, gradient_checkpointing=False, completion_only_loss=True, report_to="none",
            save_strategy="no", logging_strategy="no", disable_tqdm=True, max_length=1024, packing=packing,
        )  # fmt: skip
        trainer = trl.SFTTrainer(
            model("sdpa"), arguments, train_dataset=table, processing_class=tokenizer, callbacks=[Clock()]
        )
        trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
        trainer.train()
    return min(taken[1:])


def break_even(repeats: int) -> None:
    """Print where sharing begins to pay: small batches that have little in common."""
    print("\nWhere it begins to pay: training step, float32, SDPA\n")
    print("| rows × tokens | positions | saved | padded / shared | auto shares |\n|---|---|---|---|---|")
    random = Random(0)

    def some(length: int) -> tuple[int, ...]:
        return tuple(random.randrange(3, VOCABULARY) for _ in range(length))

    for count, length in ((4, 64), (4, 256), (16, 64), (32, 256)):
        for part in (0.1, 0.2, 0.4):
            common = some(int(length * part))
            rows = [Encoded((*common, *some(length - len(common))), length - length // 5) for _ in range(count)]
            found = shared_prefixes(rows)
            took = training(rows, torch.float32, repeats, sides=("padded sdpa", "shared sdpa"))
            print(
                f"| {count} × {length} | {found.padded / found.computed:.2f} | {found.padded - found.computed:,} | "
                f"{took['padded sdpa'] / took['shared sdpa']:.2f}× | {'yes' if worthwhile([found]) else 'no'} |",
                flush=True,
            )


def compared(took: Mapping[str, float]) -> str:
    """Return a cell: padded, shared, and how much faster that is."""
    padded, shared = took.values()
    return f"{padded:.2f} → {shared:.2f} (**{padded / shared:.2f}×**)"


def steps(repeats: int, *, quick: bool) -> None:
    """Print the table of training steps."""
    cases = {
        "one row a hand, 32 rows": cards(32, solutions=1),
        "four rows a hand, 32 rows": cards(8, solutions=4),
        "12-step routes, 36 rows": routes(3),
        "… history last": routes(3, prompt_style="terse"),
    }
    if not quick:
        cases |= {
            "one row a hand, 128 rows": cards(128, solutions=1),
            "four rows a hand, 128 rows": cards(32, solutions=4),
            "12-step routes, 96 rows": routes(8),
        }
    print("Training step: padded → shared\n")
    print("| rows | positions | float32, SDPA | float32, eager | bfloat16, SDPA | TRL padded | TRL packed |")
    print("|---|---|---|---|---|---|---|")
    for name, rows in cases.items():
        large = len(rows) > 40
        cells = [
            compared(training(rows, dtype, 2 if large else repeats, sides=(f"padded {kind}", f"shared {kind}")))
            for dtype, kind in ((torch.float32, "sdpa"), (torch.float32, "eager"), (torch.bfloat16, "sdpa"))
        ]
        for packing in (False, True):
            cells.append("" if large or quick else f"{trl_step(rows, packing=packing, repeats=2):.2f}")
        found = shared_prefixes(rows)
        print(f"| {name} | {found.padded / found.computed:.2f} | {' | '.join(cells)} |", flush=True)


def answers(repeats: int, *, quick: bool) -> None:
    """Print the tables of teacher-forced and of generated answers."""
    print("\nTeacher-forced answers: padded → shared\n\n| rows | float32 | bfloat16 |\n|---|---|---|")
    for words, style in (("", "paper"), (", history last", "terse")):
        rows = routes(3 if quick else 16, prompt_style=style)
        for size in (36, 96):
            cells = [
                compared(scoring(rows, dtype, repeats, batch_size=size)) for dtype in (torch.float32, torch.bfloat16)
            ]
            print(f"| {len(rows)} steps of routes{words}, batch {size} | {' | '.join(cells)} |", flush=True)
    print("\nGeneration of 60 tokens: padded → shared prefilling (answers that are the same)\n")
    print("| prompts | float32 | bfloat16 |\n|---|---|---|")
    asked = {
        "64 hands": cards(64, solutions=1),
        "16 hands, four times each": cards(16, solutions=4),
        "48 steps of routes": routes(4),
    }
    for name, rows in asked.items():
        cells = []
        for dtype in (torch.float32, torch.bfloat16):
            took, same = generation(rows, dtype, 1 if quick else 3)
            cells.append(f"{compared(took)} ({same} of {len(rows)})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small batches once, without TRL")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.utils.logging.disable_progress_bar()
    repeats = 1 if quick else 4
    steps(repeats, quick=quick)
    answers(repeats, quick=quick)
    if not quick:
        break_even(repeats=6)


if __name__ == "__main__":
    main()
