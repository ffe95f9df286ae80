"""Peak memory and time of one training step at a 150k vocabulary: Transformers' own loss beside our engine.

Each measurement runs in a process of its own, because a process never gives its peak back. The model is a one-layer
Llama with a tied output head, so that nearly all of the step is the loss. One command, both sides:

    python benchmarks/loss_memory.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from holdfast.objectives.dft import DFT
from holdfast.objectives.engine import Engine
from holdfast.objectives.nll import NLL

VOCABULARY, WIDTH, ROWS, TOKENS = 151_936, 256, 2, 769
MASKED = {"all tokens learned": 1, "half of them prompt": 385}
SIDES = {"Transformers, NLL": "labels=", "engine, NLL": NLL(), "engine, DFT": DFT()}


def resident(field: str) -> float:
    """Return VmRSS or VmHWM of this process in MB (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def measure(side: str, prompt: int, repeats: int) -> dict[str, float]:
    """Take training steps; return the peak over the loaded model in MB and the least CPU time of a step in seconds."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=1,
        num_attention_heads=4, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    ids = torch.randint(0, VOCABULARY, (ROWS, TOKENS))
    labels = ids.clone()
    labels[:, :prompt] = -100
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    engine = None if side.startswith("Transformers") else Engine(model, SIDES[side])
    before, seconds, value = resident("VmRSS"), [], 0.0
    for _ in range(repeats):
        model.zero_grad(set_to_none=True)
        start = time.process_time()
        if engine is None:
            loss = model(**batch, use_cache=False).loss
        else:
            loss = engine.loss(batch, engine.totals([batch])).loss
        loss.backward()
        seconds.append(time.process_time() - start)
        value = loss.item()
        del loss
    return {"peak": resident("VmHWM") - before, "seconds": min(seconds), "loss": value}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--prompt", type=int, default=1)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.prompt, options.repeats)))
        return
    print(
        f"vocabulary {VOCABULARY:,}, width {WIDTH}, {ROWS} x {TOKENS - 1} tokens, {torch.get_num_threads()} thread(s)\n"
    )
    print(f"| {'':38} | loss | peak over model, MB | of Transformers' | CPU s/step | of Transformers' |")
    print(f"|{'-' * 40}|---|---|---|---|---|")
    for words, prompt in MASKED.items():
        reference: dict[str, float] = {}
        for side in SIDES:
            command = [sys.executable, __file__, "--side", side, "--prompt", str(prompt)]
            done = subprocess.run(
                [*command, "--repeats", str(options.repeats)], check=True, capture_output=True, text=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            reference = reference or found
            shares = [f"{found[key] / reference[key]:.2f}" for key in ("peak", "seconds")]
            print(
                f"| {side + ', ' + words:38} | {found['loss']:.4g} | {found['peak']:,.0f} | {shares[0]} | "
                f"{found['seconds']:.2f} | {shares[1]} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
