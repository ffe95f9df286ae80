"""The base model as a reference: asked on the very inputs of the model, in eval mode, and left as it was."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from objective_kit import engine_gradients, ragged

import tiny_models
from holdfast.objectives.anchored import Anchored
from holdfast.objectives.engine import Engine


def penalty(model, base, batch, *, direction="from_base") -> float:
    """Sum of KL between model and base over the target tokens of a batch."""
    engine = Engine(model, Anchored(on="nll", strength=1.0, direction=direction), base=base)
    return float(engine.loss(batch, engine.totals([batch])).sums.penalty)


def loud(model):
    """In float64, with attention that matters: at their small initial weights tiny models hardly attend."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight *= 20 if "self_attn" in name else 5
            if "mm_input_projection" in name:  # begins at 0: pictures would say nothing
                weight.normal_(generator=torch.Generator().manual_seed(0))
    return model.double()


def pictures() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.full((2, 4), tiny_models.IMAGE_TOKEN)
    ids = torch.cat([image, torch.randint(3, 80, (2, 6), generator=generator)], dim=1)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "token_type_ids": (ids == tiny_models.IMAGE_TOKEN).long(),
        "pixel_values": torch.randn(2, 3, 16, 16, generator=generator),
        "labels": ids.masked_fill(ids == tiny_models.IMAGE_TOKEN, -100),
    }


def packed() -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 80, (1, 12), generator=torch.Generator().manual_seed(5))
    return {"input_ids": ids, "labels": ids, "position_ids": torch.tensor([[*range(5), *range(7)]])}


BATCHES = {
    "padded": ("llama", lambda: ragged(side="left"), "attention_mask"),
    "packed": ("llama", packed, "position_ids"),
    "pictures": ("gemma3", pictures, "pixel_values"),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_a_base_with_the_weights_of_the_model_is_at_no_distance_whatever_a_batch_holds(kind):
    architecture, batch, told = BATCHES[kind]
    model, base = (loud(tiny_models.build(architecture)) for _ in range(2))
    seen: list[set[str]] = []
    base.register_forward_pre_hook(lambda _m, _a, inputs: seen.append(set(inputs)), with_kwargs=True)
    assert abs(penalty(model, base, double(batch()))) < 1e-9
    assert all(told in names for names in seen)
    base.register_forward_pre_hook(lambda _m, a, inputs: (a, without(inputs, told)), with_kwargs=True, prepend=True)
    assert penalty(model, base, double(batch())) > 1e-3, "a base that is not told would be at a distance"


def without(inputs: dict, told: str) -> dict:
    """Inputs but for what is told, or for its meaning where it cannot be left out."""
    if told == "pixel_values":
        return {**inputs, told: torch.zeros_like(inputs[told])}
    return {name: value for name, value in inputs.items() if name != told}


def double(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}


def dropping(*, seed: int = 0):
    config = tiny_models.CONFIGS["llama"]()
    config.attention_dropout = 0.5
    torch.manual_seed(seed)
    return hf.LlamaForCausalLM(config)


def test_a_base_left_in_training_mode_is_asked_without_dropout_and_keeps_its_modes():
    model, base = loud(dropping()).eval(), loud(dropping()).train()
    base.model.layers[1].eval()
    before = [module.training for module in base.modules()]
    assert abs(penalty(model, base, ragged())) < 1e-9
    assert [module.training for module in base.modules()] == before


def test_the_base_gets_no_gradient_though_it_could():
    model, base = tiny_models.build("llama"), tiny_models.build("llama", seed=1)
    _, found = engine_gradients(model, Anchored(on="nll", strength=1.0), [ragged()], base=base)
    assert found
    assert all(p.grad is None for p in base.parameters())


def test_the_two_directions_are_the_two_divergences_over_the_whole_vocabulary():
    model, base, batch = tiny_models.build("llama"), tiny_models.build("llama", seed=1), ragged()
    with torch.no_grad():
        for one in (model, base):
            one.lm_head.weight *= 20  # far apart, so that the directions differ
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        learned = batch["labels"][:, 1:] != -100
        p, q = (one(**inputs).logits[:, :-1][learned].double().softmax(-1) for one in (model, base))
    expected = {"from_base": (q * (q / p).log()).sum().item(), "to_base": (p * (p / q).log()).sum().item()}
    assert expected["from_base"] != pytest.approx(expected["to_base"], rel=0.01)
    for direction, value in expected.items():
        assert penalty(model, base, batch, direction=direction) == pytest.approx(value, rel=1e-3)
