"""Attention-only fine-tuning on every tiny architecture: train, prove what moved, generate, save, load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor

import tiny_models
from holdfast.errors import FrozenWeightMoved, SelectionError
from holdfast.models.roles import Role
from holdfast.models.structure import roles
from holdfast.selection import Selected, parse, select
from holdfast.selection.apply import apply, fingerprint_frozen, verify_frozen

ATTENTION_FREE = ("mamba2",)
IMAGE_TOKEN = "<|image|>"


def text_batch() -> dict[str, Tensor]:
    """Two rows of eight ordinary tokens, B = 2, T = 8."""
    ids_BT = torch.randint(3, tiny_models.IMAGE_TOKEN, (2, 8), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)}


def one_step(model: Any, selected: Selected, batch: Mapping[str, Tensor]) -> set[str]:
    """Take one AdamW step on what is selected and return the names of the tensors that moved."""
    apply(model, selected)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    frozen = fingerprint_frozen(model, selected)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2, weight_decay=0.0)
    model.train()
    model(**batch, labels=batch["input_ids"]).loss.backward()
    optimizer.step()
    model.eval()
    verify_frozen(model, frozen)
    return {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}


def reloaded(model: Any, folder: Path) -> Any:
    model.save_pretrained(folder)
    return type(model).from_pretrained(folder).eval()


@pytest.mark.parametrize("architecture", tiny_models.CONFIGS)
def test_one_step_moves_all_of_the_attention_and_nothing_else(architecture: str, tmp_path: Path) -> None:
    model = tiny_models.build(architecture)
    batch = text_batch()
    role = "mixer" if architecture in ATTENTION_FREE else "attention"
    selected = select(roles(model), parse(role), text_only=True)
    with torch.no_grad():
        before_BTV = model(**batch).logits
    assert one_step(model, selected, batch) == set(selected.names)
    with torch.no_grad():
        after_BTV = model(**batch).logits
    assert not torch.equal(before_BTV, after_BTV)

    written = model.generate(**batch, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert written.shape == (2, 8 + 3)

    again = reloaded(model, tmp_path)
    tensors = dict(again.named_parameters())
    assert all(torch.equal(tensors[name], parameter) for name, parameter in model.named_parameters())
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, after_BTV)
    assert roles(again) == roles(model)


@pytest.mark.parametrize("architecture", ATTENTION_FREE)
def test_attention_of_a_model_without_attention_is_refused_with_what_it_has(architecture: str) -> None:
    found = roles(tiny_models.build(architecture))
    with pytest.raises(SelectionError, match=r"no parameters with role 'attention'.*It has: mixer, norm"):
        select(found, parse("attention"))


@pytest.mark.parametrize("architecture", tiny_models.CONFIGS)
def test_on_text_exactly_what_full_selects_receives_a_gradient(architecture: str) -> None:
    """The claim behind ``text_only``, asked of the model itself."""
    model = tiny_models.build(architecture)
    selected = select(roles(model), parse("full"), text_only=True)
    batch = text_batch()
    model(**batch, labels=batch["input_ids"]).loss.backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert set(selected.names) == reached


def processor() -> Any:
    """The real Mllama processor around a tokenizer of single letters, built here and offline."""
    letters = {chr(code): index for index, code in enumerate(range(32, 32 + tiny_models.VOCABULARY - 3), 3)}
    core = Tokenizer(models.WordLevel({"<pad>": 0, "<s>": 1, "</s>": 2, **letters}, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=[IMAGE_TOKEN],
    )
    assert tokenizer.convert_tokens_to_ids(IMAGE_TOKEN) == tiny_models.VOCABULARY
    images = hf.MllamaImageProcessorPil(size={"height": 16, "width": 16}, max_image_tiles=4)
    return hf.MllamaProcessor(image_processor=images, tokenizer=tokenizer)


def image_batch(seed: int) -> dict[str, Tensor]:
    pixels = np.random.default_rng(seed).integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)
    images = [[Image.fromarray(picture)] for picture in pixels]
    texts = [f"{IMAGE_TOKEN}how many", f"{IMAGE_TOKEN}what for?"]
    return dict(processor()(images=images, text=texts, padding=True, return_tensors="pt"))


def opened_mllama() -> Any:
    """A tiny Mllama whose images count: at initialization its cross-attention gates are shut."""
    model = tiny_models.build("mllama")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_gate"):
                parameter.fill_(1.0)
    return model


@pytest.mark.parametrize(
    "spec", ["attention", {"roles": ["attention", "cross_attention"]}, {"roles": ["vision"], "layers": "last:1"}]
)
def test_mllama_learns_from_images_what_is_selected_and_nothing_else(spec: Any, tmp_path: Path) -> None:
    model = opened_mllama()
    batch = image_batch(0)
    assert batch["pixel_values"].ndim == 6
    labels_BT = batch["input_ids"].masked_fill(batch["input_ids"] >= tiny_models.VOCABULARY, -100)
    selected = select(roles(model), parse(spec))
    with torch.no_grad():
        assert not torch.equal(model(**batch).logits, model(**{**batch, **pixels_of(image_batch(7))}).logits)
    apply(model, selected)
    frozen = fingerprint_frozen(model, selected)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2, weight_decay=0.0)
    model(**batch, labels=labels_BT).loss.backward()
    optimizer.step()
    verify_frozen(model, frozen)
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == set(selected.names)

    written = model.generate(**batch, max_new_tokens=2, min_new_tokens=2, do_sample=False)
    assert written.shape[1] == batch["input_ids"].shape[1] + 2
    again = reloaded(model, tmp_path)
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, model(**batch).logits)


def pixels_of(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"pixel_values": batch["pixel_values"]}


def test_a_leak_in_the_freezing_is_noticed() -> None:
    """The check of the first test can fail: a frozen norm is given to the optimizer behind our back."""
    model = tiny_models.build("llama")
    selected = select(roles(model), parse("attention"))
    apply(model, selected)
    frozen = fingerprint_frozen(model, selected)
    leak = model.model.norm.weight.requires_grad_(True)
    batch = text_batch()
    model(**batch, labels=batch["input_ids"]).loss.backward()
    torch.optim.AdamW([leak], lr=1e-2).step()
    with pytest.raises(FrozenWeightMoved, match=r"model\.norm\.weight"):
        verify_frozen(model, frozen)


def test_every_architecture_but_the_state_space_one_has_attention() -> None:
    without = {name for name in tiny_models.CONFIGS if Role.ATTENTION not in {p.role for p in of(name)}}
    assert without == set(ATTENTION_FREE)


def of(architecture: str) -> Any:
    return roles(tiny_models.build(architecture, device="meta"))
