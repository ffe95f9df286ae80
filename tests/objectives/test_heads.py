"""Every kind of output head gives the gradients of plain autograd, and what is not known is refused by name."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from objective_kit import engine_gradients, largest_difference, naive_gradients, ragged
from peft import LoraConfig, get_peft_model
from torch import nn

import tiny_models
from holdfast.errors import ModelError
from holdfast.objectives.dft import DFT
from holdfast.objectives.engine import Engine
from holdfast.objectives.head import LogitTransform, OutputHead
from holdfast.objectives.nll import NLL


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("architecture", tiny_models.CONFIGS)
def test_the_engine_equals_plain_autograd_on_every_architecture(architecture):
    model, batch = tiny_models.build(architecture), ragged(rows=4)
    expected_loss, expected = naive_gradients(model, batch, torch.exp)
    loss, found = engine_gradients(model, DFT(), [batch], chunk_rows=5)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert largest_difference(found, expected) < 1e-4


def check(model, batch, *, tolerance=1e-9):
    expected_loss, expected = naive_gradients(model, batch, torch.exp)
    for chunk_rows in (None, 5):
        loss, found = engine_gradients(model, DFT(), [batch], chunk_rows=chunk_rows)
        assert loss == pytest.approx(expected_loss, rel=1e-9)
        assert largest_difference(found, expected) < tolerance
    return found


def llama(**changes) -> nn.Module:
    config = tiny_models.CONFIGS["llama"]()
    for name, value in changes.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    return hf.LlamaForCausalLM(config).double()


def test_a_tied_head_adds_its_gradient_to_the_embedding():
    model = llama(tie_word_embeddings=True)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert "model.embed_tokens.weight" in check(model, ragged())


def test_a_biased_head_gets_its_bias_gradient():
    model = llama()
    model.lm_head = nn.Linear(16, 96, dtype=torch.float64)
    assert "lm_head.bias" in check(model, ragged())


def test_a_frozen_head_gets_no_gradient_and_the_trunk_the_same():
    model = llama()
    model.lm_head.requires_grad_(False)
    assert "lm_head.weight" not in check(model, ragged())


def test_a_frozen_trunk_lets_the_head_alone_learn():
    model = llama()
    model.model.requires_grad_(False)
    assert set(check(model, ragged())) == {"lm_head.weight"}


def test_attention_only_training_gives_gradients_to_attention_only():
    model = llama()
    for name, weight in model.named_parameters():
        weight.requires_grad_("self_attn" in name)
    assert all("self_attn" in name for name in check(model, ragged()))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft asks for the old name
@pytest.mark.parametrize("save", [None, ["lm_head"]], ids=["adapter on the head", "head trained beside adapters"])
def test_adapters_in_the_trunk_and_on_the_head_get_their_gradients(save):
    targets = ["q_proj", "v_proj"] if save else ["q_proj", "v_proj", "lm_head"]
    model = get_peft_model(llama(), LoraConfig(r=2, target_modules=targets, modules_to_save=save)).double()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    found = check(model, ragged())
    assert any("lm_head" in name for name in found)
    assert any("q_proj.lora_A" in name for name in found)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated")  # the name that 5.17 knows
def test_gradient_checkpointing_changes_nothing():
    model = llama()
    _, expected = engine_gradients(model, DFT(), [ragged()])
    model.train()
    model.gradient_checkpointing_enable()
    _, found = engine_gradients(model, DFT(), [ragged()])
    assert largest_difference(found, expected) < 1e-12


def cohere(**changes):
    return hf.CohereForCausalLM(hf.CohereConfig(**{**tiny_models.DENSE, "logit_scale": 0.25, **changes}))


def granite():
    return hf.GraniteForCausalLM(hf.GraniteConfig(**tiny_models.DENSE, logits_scaling=8.0))


def gemma2():
    return hf.Gemma2ForCausalLM(
        hf.Gemma2Config(**tiny_models.DENSE, head_dim=8, query_pre_attn_scalar=8, final_logit_softcapping=2.0)
    )


@pytest.mark.parametrize(
    ("make", "transform"),
    [
        (cohere, LogitTransform(scale=0.25)),
        (granite, LogitTransform(scale=0.125)),
        (gemma2, LogitTransform(softcap=2.0)),
    ],
    ids=["cohere", "granite", "gemma2"],
)
def test_scale_and_soft_cap_come_before_the_probability(make, transform):
    torch.manual_seed(0)
    model = make().double()
    with torch.no_grad():
        model.get_output_embeddings().weight *= 40  # so that the cap bites
    # Gemma and Granite compute parts of their blocks in float32 whatever the weights are.
    check(model, ragged(), tolerance=1e-5)
    head = OutputHead(model)
    head.trunk(model, {"input_ids": torch.tensor([[5, 6]])})
    assert head.transform == transform


class Shifted(hf.LlamaForCausalLM):
    """A model whose forward does to its logits what no config key tells."""

    def forward(self, *args, **inputs):
        out = super().forward(*args, **inputs)
        out["logits"] = out["logits"] + 1e-2 * out["logits"].square()
        return out


class Bypassing(hf.LlamaForCausalLM):
    """A model that multiplies by the head's weight without calling the head."""

    def forward(self, input_ids, attention_mask=None, use_cache=None):
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return {"logits": hidden @ self.lm_head.weight.T}


@pytest.mark.parametrize(
    ("kind", "message"),
    [(Shifted, r"Shifted.*does not know.*60 became the logit 96"), (Bypassing, r"Bypassing.*called it 0 times")],
    ids=["unknown change", "head bypassed"],
)
def test_a_forward_that_is_not_understood_is_refused_by_name(kind, message):
    model = kind(tiny_models.CONFIGS["llama"]())
    with pytest.raises(ModelError, match=message):
        engine_gradients(model, NLL(), [ragged()])


def test_a_scale_that_the_config_does_not_tell_is_refused():
    model = cohere()
    model.config.logit_scale = 0.5  # the model itself keeps 0.25
    with pytest.raises(ModelError, match="became the logit 15"):
        engine_gradients(model, NLL(), [ragged()])


def test_models_without_a_language_head_are_refused():
    with pytest.raises(ModelError, match="LlamaModel has no output head"):
        Engine(hf.LlamaModel(tiny_models.CONFIGS["llama"]()), NLL())


def test_the_head_is_whole_again_after_the_loss():
    model, batch = llama(), ragged()
    before = model(input_ids=batch["input_ids"]).logits
    engine_gradients(model, DFT(), [batch])
    assert torch.equal(model(input_ids=batch["input_ids"]).logits, before)


def test_the_head_is_whole_again_after_a_failing_forward():
    model = llama()
    with pytest.raises(IndexError):
        engine_gradients(model, DFT(), [{**ragged(), "input_ids": torch.full((8, 11), 10_000)}])
    assert not model.lm_head._forward_pre_hooks
    assert not model.lm_head._forward_hooks


def test_images_go_through_the_trunk():
    torch.manual_seed(0)
    model = tiny_models.build("gemma3")
    ids = torch.cat([torch.full((2, 4), tiny_models.IMAGE_TOKEN), torch.randint(3, 80, (2, 6))], dim=1)
    images = torch.randn(2, 3, 16, 16)
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "token_type_ids": (ids == tiny_models.IMAGE_TOKEN).long(),
        "pixel_values": images,
        "labels": ids.masked_fill(ids == tiny_models.IMAGE_TOKEN, -100),
    }
    expected_loss, expected = naive_gradients(model, batch, torch.exp)
    loss, found = engine_gradients(model, DFT(), [batch])
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert largest_difference(found, expected) < 1e-4
    assert bool((found["model.multi_modal_projector.mm_input_projection_weight"] != 0).any())
