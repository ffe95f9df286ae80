"""A tiny training run whose every step is reproducible, for the tests of checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models

from holdfast.models.compute import compute, set_masters
from holdfast.train import checkpoint as ck

IDENTITY = {"recipe": "aaaa", "base": "bbbb"}
Optimizers = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]


def adamw(weights: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    vectors, matrices = [w for w in weights if w.ndim < 2], [w for w in weights if w.ndim >= 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=1e-2, fused=True)


def tokenizer() -> Any:
    words = {f"w{i}": i for i in range(3, 96)} | {"<pad>": 0, "<s>": 1, "</s>": 2}
    core = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", pad_token="<pad>")


def tiny_llama(*, tied: bool = True) -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=96, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        attention_dropout=0.1, tie_word_embeddings=tied, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).to(torch.bfloat16)


@dataclass
class Run:
    """Trains ``trainable`` of a tiny Llama with dropout; one line of metrics a step; saves where it is told."""

    folder: Path
    trainable: Callable[[str], bool] = lambda name: "self_attn" in name
    make_optimizer: Optimizers = adamw
    step: int = 0
    model: Any = field(default_factory=tiny_llama)

    def __post_init__(self) -> None:
        self.names = [name for name, _ in self.model.named_parameters() if self.trainable(name)]
        set_masters(self.model, self.names)
        self.optimizer = self.make_optimizer([p for p in self.model.parameters() if p.requires_grad])
        torch.manual_seed(7)
        self.folder.mkdir(exist_ok=True)

    def resume(self, *, identity: Mapping[str, str] = IDENTITY) -> Run:
        ck.remove_litter(self.folder)
        found = ck.newest(self.folder, identity=identity)
        if found is not None:
            ck.trim_logs(found, self.folder)
            self.step = ck.restore(found, model=self.model, optimizer=self.optimizer)["step"]
        return self

    def train(self, until: int, *, save_at: tuple[int, ...] = ()) -> Run:
        self.model.train()
        while self.step < until:
            ids_BT = torch.randint(3, 96, (2, 8), generator=torch.Generator().manual_seed(self.step))
            with compute(self.model, torch.bfloat16):
                loss = self.model(ids_BT, labels=ids_BT).loss
                loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.step += 1
            with (self.folder / "metrics.jsonl").open("a") as stream:
                stream.write(json.dumps({"step": self.step, "loss": loss.item()}) + "\n")
            if self.step in save_at:
                self.save()
        return self

    def save(self, *, identity: Mapping[str, str] = IDENTITY, save_dtype: torch.dtype = torch.bfloat16) -> Path:
        return ck.write(
            self.folder, step=self.step, model=self.model, tokenizer=tokenizer(), optimizer=self.optimizer,
            trainable=self.names, state={"step": self.step}, logs=ck.run_logs(self.folder), save_dtype=save_dtype,
            identity=identity,
        )  # fmt: skip

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def metrics(self) -> str:
        return (self.folder / "metrics.jsonl").read_text()


def same(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left
    )
