"""Folders from which the DFT paper's runs on five models can be planned, without weights and without a network.

    python examples/math_models.py runs/math-models
    holdfast plan studies/dft/numina.yaml --model_name_or_path runs/math-models/qwen-7b ...

Each holds a configuration with the published shapes and a tokenizer of bytes; `rows.jsonl` beside them has problems and
solutions of digits, as many tokens as rows of NuminaMath-CoT are taken to have (docs/math-models.md). With the real
folders and rows the same commands tell the real figures.
"""

import json
import math
import random
import sys
from pathlib import Path

import transformers

from holdfast.models.word_tokenizer import build

ROWS, PROBLEM, SOLUTION, SPREAD, LONGEST = 2000, 90, 330, 0.65, 2048


def qwen2(**shape: int | bool) -> transformers.PreTrainedConfig:
    return transformers.Qwen2Config(architectures=["Qwen2ForCausalLM"], dtype="bfloat16", **shape)


def llama(**shape: int | bool) -> transformers.PreTrainedConfig:
    return transformers.LlamaConfig(architectures=["LlamaForCausalLM"], dtype="bfloat16", **shape)


def shape(width: int, blocks: int, heads: int, kv: int, mlp: int, words: int, tied: bool) -> dict[str, int | bool]:
    return {
        "hidden_size": width,
        "num_hidden_layers": blocks,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": mlp,
        "vocab_size": words,
        "tie_word_embeddings": tied,
        "max_position_embeddings": 4096,
    }


MODELS = {
    "qwen-1.5b": qwen2(**shape(1536, 28, 12, 2, 8960, 151_936, True)),  # Qwen/Qwen2.5-Math-1.5B
    "qwen-7b": qwen2(**shape(3584, 28, 28, 4, 18_944, 152_064, False)),  # Qwen/Qwen2.5-Math-7B
    "llama-3b": llama(**shape(3072, 28, 24, 8, 8192, 128_256, True)),  # meta-llama/Llama-3.2-3B
    "llama-8b": llama(**shape(4096, 32, 32, 8, 14_336, 128_256, False)),  # meta-llama/Llama-3.1-8B
    "deepseek-7b": llama(**shape(4096, 30, 32, 32, 11_008, 102_400, False)),  # deepseek-ai/deepseek-math-7b-base
}


def digits(mean: int, dice: random.Random) -> str:
    """Return some digits, a token each, `mean` of them in the mean over many calls (log-normal)."""
    number = round(mean * math.exp(dice.gauss(0.0, SPREAD) - SPREAD**2 / 2))
    return "".join(dice.choices("0123456789", k=min(max(number, 5), LONGEST // 2 - 10)))


folder = Path(sys.argv[1])
for name, config in MODELS.items():
    config.save_pretrained(folder / name)
    build([], positions=4096).save_pretrained(folder / name)
dice = random.Random(0)
rows = [{"problem": digits(PROBLEM, dice), "solution": digits(SOLUTION, dice)} for _ in range(ROWS)]
(folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
