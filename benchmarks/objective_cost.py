"""What a weighted objective costs beside plain NLL: our engine, TRL's trainer and naive PyTorch, in turns.

    OMP_NUM_THREADS=1 python benchmarks/objective_cost.py [--quick]

A random Llama of 4 blocks, 192 wide, vocabulary 32,000, in float32; 16 rows of 128 tokens, half of them prompt. A step
is forward and backward of one micro-batch, without the optimizer, in CPU seconds of one thread. All sides step in
each round, in an order that rotates, so that whatever else the machine does hits all alike; printed is the median over
rounds of the ratio to the reference of the same round, with the quartiles. TRL's side is ``SFTTrainer.compute_loss`` on
the batch of its own collator.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Literal

import torch
import transformers
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from holdfast.models.word_tokenizer import build as word_tokenizer
from holdfast.objectives.base import Objective
from holdfast.objectives.dft import DFT
from holdfast.objectives.engine import Engine
from holdfast.objectives.entropy import Entropy
from holdfast.objectives.label_smoothing import LabelSmoothing
from holdfast.objectives.nll import NLL
from holdfast.objectives.power import Power
from holdfast.objectives.subspace_penalty import penalty_on
from holdfast.objectives.threshold import Threshold
from holdfast.recipe import Penalty
from holdfast.spectral.cache import FactorCache

VOCABULARY, ROWS, TOKENS, PROMPT = 32_000, 16, 128, 64
OURS: Mapping[str, Callable[[], Objective]] = {
    "engine, nll": NLL,
    "engine, dft": DFT,
    "engine, power 2": lambda: Power(alpha=2.0),
    "engine, entropy": Entropy,
    "engine, threshold (no token passes)": lambda: Threshold(of="model"),
    "engine, label smoothing": LabelSmoothing,
}


def model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=512, attn_implementation="eager",
    )  # fmt: skip
    return LlamaForCausalLM(config).train()


def batch() -> dict[str, torch.Tensor]:
    ids_BT = torch.tensor([[Random(f"{r} {t}").randrange(3, VOCABULARY) for t in range(TOKENS)] for r in range(ROWS)])
    labels_BT = ids_BT.clone()
    labels_BT[:, :PROMPT] = -100
    return {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT), "labels": labels_BT}


def engine_step(objective: Objective) -> Callable[[], None]:
    """Return a step by our engine."""
    engine, one = Engine(model(), objective), batch()

    def step() -> None:
        engine.model.zero_grad(set_to_none=True)
        engine.loss(one, engine.totals([one])).loss.backward()

    return step


def penalized_step(name: Literal["union", "core"]) -> Callable[[], None]:
    """Return a step by our engine with a penalty on the update of all matrices in the blocks, k a fifth."""
    own, one = model(), batch()
    engine = Engine(own, NLL())
    names = [key for key, weight in own.named_parameters() if ".layers." in key and weight.ndim == 2]
    penalty = penalty_on(own, names, Penalty(name=name, strength=1000.0), cache=FactorCache(None))

    def step() -> None:
        own.zero_grad(set_to_none=True)
        loss = engine.loss(one, engine.totals([one])).loss
        (loss + penalty.asked.strength * penalty()).backward()

    return step


def naive_step(*, dft: bool) -> Callable[[], None]:
    """Return a step by the loss as one would write it: all logits, cross-entropy, and a detached weight."""
    own, one = model(), batch()

    def step() -> None:
        own.zero_grad(set_to_none=True)
        logits_BTV = own(one["input_ids"], attention_mask=one["attention_mask"], use_cache=False).logits
        target_N = one["labels"][:, 1:].flatten()
        loss_N = functional.cross_entropy(
            logits_BTV[:, :-1].flatten(0, 1).float(), target_N, ignore_index=-100, reduction="none"
        )
        weight_N = torch.exp(-loss_N.detach()) if dft else 1.0
        (weight_N * loss_N).sum().div((target_N != -100).sum()).backward()

    return step


def trl_step(loss_type: str, folder: str) -> Callable[[], None]:
    """Return a step by TRL's trainer."""
    import datasets
    import trl

    one = batch()
    table = datasets.Dataset.from_list(
        [
            {"input_ids": row.tolist(), "completion_mask": [int(at >= PROMPT) for at in range(TOKENS)]}
            for row in one["input_ids"]
        ]
    )
    arguments = trl.SFTConfig(
        output_dir=folder, max_steps=1, per_device_train_batch_size=ROWS, bf16=False, use_cpu=True, loss_type=loss_type,
        gradient_checkpointing=False, completion_only_loss=True, report_to="none", max_length=TOKENS,
    )  # fmt: skip
    trainer = trl.SFTTrainer(model(), arguments, train_dataset=table, processing_class=word_tokenizer(["a"]))
    inputs = next(iter(trainer.get_train_dataloader()))
    items = torch.tensor(ROWS * (TOKENS - PROMPT))

    def step() -> None:
        trainer.model.zero_grad(set_to_none=True)
        trainer.compute_loss(trainer.model, dict(inputs), num_items_in_batch=items).backward()

    return step


def rounds(sides: Mapping[str, Callable[[], None]], count: int) -> dict[str, list[float]]:
    """Return CPU seconds of each side in each round; a first round warms up."""
    names, taken = list(sides), {name: [] for name in sides}
    for number in range(count + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.process_time()
            sides[name]()
            if number:
                taken[name].append(time.process_time() - start)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three rounds")
    count = 3 if parser.parse_args().quick else 20
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        sides = {name: engine_step(make()) for name, make in OURS.items()}
        sides |= {f"engine, nll, {name} penalty": penalized_step(name) for name in ("union", "core")}
        sides |= {"naive PyTorch, nll": naive_step(dft=False), "naive PyTorch, dft": naive_step(dft=True)}
        sides |= {f"TRL, {kind}": trl_step(kind, folder) for kind in ("nll", "dft")}
        taken = rounds(sides, count)
    reference = taken["engine, nll"]
    print(f"{count} rounds; ratio to `engine, nll` of the same round\n")
    print("| side | CPU seconds (median) | ratio (median) | quartiles |\n|---|---|---|---|")
    for name, times in taken.items():
        ratios = [mine / theirs for mine, theirs in zip(times, reference, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"| {name} | {statistics.median(times):.3f} | {middle:.2f} | {low:.2f} … {high:.2f} |")


if __name__ == "__main__":
    main()
