"""What batched generation costs: our path against a flat loop, and what handing back long-winded rows saves.

A random Llama of 3.7 million parameters answers 400 problems of the points game in float32. CPU seconds, one thread.
Run: ``OMP_NUM_THREADS=1 python benchmarks/evaluation_speed.py``; its table stands in ``results/evaluation_speed.md``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import transformers as hf

from holdfast.data.encode import prompt_ids
from holdfast.environments.general_points import GeneralPoints
from holdfast.models import word_tokenizer
from holdfast.recipe import Decoding
from holdfast.rollout import generate as rollout

PROBLEMS, NEW_TOKENS, LONG = 400, 40, 128


def main() -> None:
    torch.set_num_threads(1)
    game = GeneralPoints(prompt_style="terse")
    problems = [game.sample("faces_as_10", "test", index, seed=0) for index in range(PROBLEMS)]
    asked = [game.prompt(problem) for problem in problems]
    tokenizer = word_tokenizer.build([messages[0]["content"] for messages in asked])
    model = random_llama(len(tokenizer))
    prompts = prompt_ids(tokenizer, asked)

    def ours(decoding: Decoding, batch_size: int) -> Callable[[], object]:
        return lambda: rollout.generate(
            model, tokenizer, asked, decoding, batch_size=batch_size, compute_dtype=torch.float32
        )

    print(f"{PROBLEMS} prompts of {len(prompts[0])} tokens; CPU seconds on one thread")
    print(f"{NEW_TOKENS} new tokens each")
    report("  flat loop with a cache, batch 400", lambda: flat(model, prompts))
    for batch_size in (64, 200, 400):
        report(f"  ours, greedy, batch {batch_size}", ours(Decoding(max_new_tokens=NEW_TOKENS), batch_size))
    report("  ours, sampled, batch 400", ours(Decoding(max_new_tokens=NEW_TOKENS, temperature=1.0), 400))
    print(f"lengths geometric with mean about 19, cut at {LONG}")
    ends_at_random(model, tokenizer.eos_token_id)
    for shares, name in ((rollout.HANDED_BACK, "handed back at 1/4"), (10**9, "each batch runs to its end")):
        rollout.HANDED_BACK = shares
        for batch_size in (64, 200):
            report(f"  {name}, batch {batch_size}", ours(Decoding(max_new_tokens=LONG, temperature=1.0), batch_size))


def random_llama(vocabulary: int) -> hf.PreTrainedModel:
    torch.manual_seed(0)
    config = hf.LlamaConfig(
        vocab_size=vocabulary, hidden_size=192, intermediate_size=512, num_hidden_layers=8, num_attention_heads=6,
        max_position_embeddings=2048,
    )  # fmt: skip
    return hf.AutoModelForCausalLM.from_config(config).eval()


def ends_at_random(model: hf.PreTrainedModel, eos: int) -> None:
    """Make every token equally likely but the end token, which comes about once in twenty."""
    model.lm_head.weight.data.zero_()
    bias_V = torch.zeros(model.lm_head.weight.shape[0])
    bias_V[eos] = torch.tensor(len(bias_V) / 19.0).log()
    model.lm_head.bias = torch.nn.Parameter(bias_V)


@torch.no_grad()
def flat(model: hf.PreTrainedModel, prompts: list[list[int]]) -> None:
    longest = max(map(len, prompts))
    ids_BT, mask_BT = (torch.zeros(len(prompts), longest, dtype=torch.int64) for _ in range(2))
    for row, prompt in enumerate(prompts):
        ids_BT[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask_BT[row, longest - len(prompt) :] = 1
    cache, position_BT = hf.DynamicCache(config=model.config), (mask_BT.cumsum(-1) - 1).clamp(min=0)
    for _ in range(NEW_TOKENS):
        logits = model(
            input_ids=ids_BT, attention_mask=mask_BT, position_ids=position_BT, past_key_values=cache, logits_to_keep=1
        ).logits
        ids_BT = logits[:, -1].argmax(-1)[:, None]
        mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(prompts), 1)], dim=1)
        position_BT = position_BT[:, -1:] + 1


def report(name: str, work: Callable[[], object]) -> None:
    before = time.process_time()
    work()
    print(f"{name:<44}{time.process_time() - before:6.1f}")


if __name__ == "__main__":
    main()
