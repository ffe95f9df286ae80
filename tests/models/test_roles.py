"""Roles on tiny models of many architectures. The expectations are written by hand from the published architectures."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

import pytest
import torch
import transformers as hf
from torch import nn

import tiny_models
from holdfast.errors import UnknownRole
from holdfast.models.roles import ParameterRole, Role
from holdfast.models.structure import roles

LLAMA_ATTENTION = "self_attn.{q,k,v,o}_proj.weight"
LLAMA_MLP = "mlp.{gate,up,down}_proj.weight"
LLAMA_NORMS = "{input,post_attention}_layernorm.weight"
QK_NORMS = "self_attn.{q,k}_norm.weight"
EXPERTS = "mlp.experts.{gate_up,down}_proj"


@dataclass(frozen=True)
class Expected:
    """Names by role, ``{a,b}`` meaning both: in every block, in some blocks, and outside of the blocks.

    ``towers`` are prefixes under which everything has one role.
    """

    stack: str
    every: dict[str, str]
    outside: dict[str, str]
    n_blocks: int = 3
    some: dict[tuple[int, ...], dict[str, str]] = field(default_factory=dict)
    towers: dict[str, str] = field(default_factory=dict)

    def names(self) -> dict[str, tuple[str, int | None]]:
        """Return name to (role, block) for everything outside of the towers."""
        found: dict[str, tuple[str, int | None]] = {}
        for blocks, names in [(tuple(range(self.n_blocks)), self.every), *self.some.items()]:
            for block, (role, pattern) in itertools.product(blocks, names.items()):
                found |= {f"{self.stack}.{block}.{name}": (role, block) for name in expand(pattern)}
        for role, pattern in self.outside.items():
            found |= dict.fromkeys(expand(pattern), (role, None))
        return found


def expand(pattern: str) -> list[str]:
    """Return all words of ``a.{b,c} d``."""
    words = []
    for word in pattern.split():
        parts = [part.split(",") for part in re.split(r"[{}]", word)]
        words += ["".join(choice) for choice in itertools.product(*parts)]
    return words


OUTSIDE = {"embedding": "model.embed_tokens.weight", "norm": "model.norm.weight", "head": "lm_head.weight"}
TIED_OUTSIDE = {"embedding": "model.embed_tokens.weight", "norm": "model.norm.weight"}
VLM_OUTSIDE = {
    "embedding": "model.language_model.embed_tokens.weight",
    "norm": "model.language_model.norm.weight",
    "head": "lm_head.weight",
}
DENSE = {"attention": LLAMA_ATTENTION, "mlp": LLAMA_MLP, "norm": LLAMA_NORMS}
GEMMA_NORMS = f"{LLAMA_NORMS} {{pre,post}}_feedforward_layernorm.weight"

EXPECTED = {
    "llama": Expected("model.layers", DENSE, OUTSIDE),
    "mistral": Expected("model.layers", DENSE, OUTSIDE),
    "mixtral": Expected("model.layers", {**DENSE, "mlp": EXPERTS, "router": "mlp.gate.weight"}, OUTSIDE),
    "qwen2": Expected(
        "model.layers", {**DENSE, "attention": f"{LLAMA_ATTENTION} self_attn.{{q,k,v}}_proj.bias"}, TIED_OUTSIDE
    ),
    "qwen3": Expected("model.layers", {**DENSE, "norm": f"{LLAMA_NORMS} {QK_NORMS}"}, OUTSIDE),
    "qwen3_moe": Expected(
        "model.layers",
        {"attention": LLAMA_ATTENTION, "norm": f"{LLAMA_NORMS} {QK_NORMS}"},
        OUTSIDE,
        some={(0,): {"mlp": LLAMA_MLP}, (1, 2): {"mlp": EXPERTS, "router": "mlp.gate.weight"}},
    ),
    "gemma2": Expected("model.layers", {**DENSE, "norm": GEMMA_NORMS}, TIED_OUTSIDE),
    "gemma3": Expected(
        "model.language_model.layers",
        {**DENSE, "norm": f"{GEMMA_NORMS} {QK_NORMS}"},
        {key: value for key, value in VLM_OUTSIDE.items() if key != "head"},
        towers={"model.vision_tower.": "vision", "model.multi_modal_projector.": "projector"},
    ),
    "phi3": Expected(
        "model.layers",
        {"attention": "self_attn.{qkv,o}_proj.weight", "mlp": "mlp.{gate_up,down}_proj.weight", "norm": LLAMA_NORMS},
        OUTSIDE,
    ),
    "gpt2": Expected(
        "transformer.h",
        {
            "attention": "attn.{c_attn,c_proj}.{weight,bias}",
            "mlp": "mlp.{c_fc,c_proj}.{weight,bias}",
            "norm": "ln_{1,2}.{weight,bias}",
        },
        {"embedding": "transformer.{wte,wpe}.weight", "norm": "transformer.ln_f.{weight,bias}"},
    ),
    "gpt_neox": Expected(
        "gpt_neox.layers",
        {
            "attention": "attention.{query_key_value,dense}.{weight,bias}",
            "mlp": "mlp.{dense_h_to_4h,dense_4h_to_h}.{weight,bias}",
            "norm": "{input,post_attention}_layernorm.{weight,bias}",
        },
        {
            "embedding": "gpt_neox.embed_in.weight",
            "norm": "gpt_neox.final_layer_norm.{weight,bias}",
            "head": "lm_head.weight",
        },
    ),
    "olmo2": Expected(
        "model.layers", {**DENSE, "norm": f"post_{{attention,feedforward}}_layernorm.weight {QK_NORMS}"}, OUTSIDE
    ),
    "deepseek_v3": Expected(
        "model.layers",
        {
            "attention": "self_attn.{q_a_proj,q_b_proj,kv_a_proj_with_mqa,kv_b_proj,o_proj}.weight",
            "norm": f"{LLAMA_NORMS} self_attn.{{q,kv}}_a_layernorm.weight",
        },
        OUTSIDE,
        some={
            (0,): {"mlp": LLAMA_MLP},
            (1, 2): {"mlp": f"{EXPERTS} mlp.shared_experts.{{gate,up,down}}_proj.weight", "router": "mlp.gate.weight"},
        },
    ),
    "mamba2": Expected(
        "backbone.layers",
        {
            "mixer": "mixer.{A_log,D,dt_bias} mixer.conv1d.{weight,bias} mixer.{in,out}_proj.weight",
            "norm": "norm.weight mixer.norm.weight",
        },
        {"embedding": "backbone.embeddings.weight", "norm": "backbone.norm_f.weight", "head": "lm_head.weight"},
    ),
    "jamba": Expected(
        "model.layers",
        {"norm": "{input,pre_ff}_layernorm.weight"},
        {**OUTSIDE, "norm": "model.final_layernorm.weight"},
        n_blocks=4,
        some={
            (0, 2): {
                "mixer": "mamba.{A_log,D} mamba.conv1d.{weight,bias} mamba.{in,x,out}_proj.weight "
                "mamba.dt_proj.{weight,bias}",
                "norm": "mamba.{dt,b,c}_layernorm.weight",
                "mlp": "feed_forward.{gate,up,down}_proj.weight",
            },
            (1, 3): {
                "attention": LLAMA_ATTENTION,
                "mlp": "feed_forward.experts.{gate_up,down}_proj",
                "router": "feed_forward.router.weight",
            },
        },
    ),
    "mllama": Expected(
        "model.language_model.layers",
        {"mlp": LLAMA_MLP, "norm": LLAMA_NORMS},
        VLM_OUTSIDE,
        n_blocks=5,
        some={
            (0, 2, 4): {"attention": LLAMA_ATTENTION},
            (1, 3): {
                "cross_attention": "cross_attn.{q,k,v,o}_proj.weight cross_attn_{attn,mlp}_gate",
                "norm": "cross_attn.{q,k}_norm.weight",
            },
        },
        towers={"model.vision_model.": "vision", "model.multi_modal_projector.": "projector"},
    ),
    "qwen2_5_vl": Expected(
        "model.language_model.layers",
        {**DENSE, "attention": f"{LLAMA_ATTENTION} self_attn.{{q,k,v}}_proj.bias"},
        VLM_OUTSIDE,
        towers={"model.visual.": "vision"},
    ),
}


def count(found: tuple[ParameterRole, ...], role: Role) -> int:
    return sum(parameter.n_parameters for parameter in found if parameter.role is role)


def test_every_tiny_architecture_has_an_expectation() -> None:
    assert set(EXPECTED) == set(tiny_models.CONFIGS)


@pytest.mark.parametrize("architecture", EXPECTED)
def test_each_parameter_has_the_role_and_block_of_the_published_architecture(architecture: str) -> None:
    expected = EXPECTED[architecture]
    found = roles(tiny_models.build(architecture, device="meta"))
    beside = {prefix: [p for p in found if p.name.startswith(prefix)] for prefix in expected.towers}
    for prefix, role in expected.towers.items():
        assert beside[prefix]
        assert {p.role for p in beside[prefix]} == {role}
    in_towers = {p.name for group in beside.values() for p in group}
    assert {p.name: (p.role, p.layer) for p in found if p.name not in in_towers} == expected.names()


@pytest.mark.parametrize("architecture", EXPECTED)
def test_each_tensor_is_listed_once_in_model_order(architecture: str) -> None:
    model = tiny_models.build(architecture, device="meta")
    named = dict(model.named_parameters())
    found = roles(model)
    assert [p.name for p in found] == list(named)
    assert [p.shape for p in found] == [tuple(tensor.shape) for tensor in named.values()]


@pytest.mark.parametrize("architecture", ["qwen2", "gemma2", "gemma3", "gpt2"])
def test_a_tied_head_is_told_on_the_embedding(architecture: str) -> None:
    found = roles(tiny_models.build(architecture))
    tied = [p for p in found if p.tied]
    assert [(p.role, p.tied, p.tied_roles) for p in tied] == [(Role.EMBEDDING, ("lm_head.weight",), (Role.HEAD,))]


def test_tied_names_need_as_many_roles() -> None:
    with pytest.raises(ValueError, match="tied names"):
        ParameterRole("a", Role.EMBEDDING, None, (2, 2), tied=("b",))


def test_vision_blocks_are_counted_on_through_both_stacks_of_mllama() -> None:
    found = roles(tiny_models.build("mllama", device="meta"))
    blocks = {p.name.rpartition("layers.")[0]: set() for p in found if p.role is Role.VISION and p.layer is not None}
    for p in found:
        if p.role is Role.VISION and p.layer is not None:
            blocks[p.name.rpartition("layers.")[0]].add(p.layer)
    assert blocks == {"model.vision_model.transformer.": {0, 1}, "model.vision_model.global_transformer.": {2}}
    assert {p.layer for p in found if "patch_embedding" in p.name} == {None}


def test_counts_by_role_follow_from_the_configuration() -> None:
    """Shape arithmetic of one Llama, one latent attention (DeepSeek) and one state-space mixer (Mamba 2)."""
    found = roles(tiny_models.build("llama", device="meta"))
    hidden, inner, blocks, head = 16, 24, 3, 16 // 4
    assert count(found, Role.ATTENTION) == blocks * (2 * hidden * hidden + 2 * hidden * 2 * head)
    assert count(found, Role.MLP) == blocks * 3 * hidden * inner
    assert count(found, Role.NORM) == (2 * blocks + 1) * hidden

    found = roles(tiny_models.build("deepseek_v3", device="meta"))
    heads, rank, nope, rope, value = 4, 8, 4, 4, 4
    latent = hidden * rank + rank * heads * (nope + rope) + hidden * (rank + rope) + rank * heads * (nope + value)
    assert count(found, Role.ATTENTION) == blocks * (latent + heads * value * hidden)
    assert count(found, Role.MLP) == 3 * hidden * inner + 2 * (4 + 1) * 3 * hidden * 12
    assert count(found, Role.ROUTER) == 2 * 4 * hidden

    found = roles(tiny_models.build("mamba2", device="meta"))
    width, groups, state, heads = 32, 2, 8, 4
    convolved = width + 2 * groups * state
    mixer = hidden * (width + convolved + heads) + 4 * convolved + convolved + 3 * heads + width * hidden
    assert count(found, Role.MIXER) == blocks * mixer


class WeirdGadget(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.twist = nn.Linear(16, 16)


class Bottleneck(nn.Module):
    """What an adapter of one's own looks like: the names of a feed-forward network, and not one."""

    def __init__(self) -> None:
        super().__init__()
        self.down_proj, self.up_proj = nn.Linear(16, 2), nn.Linear(2, 16)


@pytest.mark.parametrize("gadget", [WeirdGadget(), Bottleneck()])
def test_an_unseen_module_in_a_block_is_refused_by_path_and_class(gadget: nn.Module) -> None:
    model = tiny_models.build("llama")
    model.model.layers[1].gadget = gadget
    with pytest.raises(UnknownRole, match=r"model\.layers\.1\.gadget.*LlamaDecoderLayer.*freeze it"):
        roles(model)


def test_an_unseen_module_outside_of_the_blocks_is_refused_by_path_and_class() -> None:
    model = tiny_models.build("llama")
    model.model.gadget = WeirdGadget()
    with pytest.raises(UnknownRole, match=r"model\.gadget\.twist \(Linear\)"):
        roles(model)


def test_an_unseen_parameter_on_a_block_is_refused() -> None:
    model = tiny_models.build("llama")
    model.model.layers[0].scale = nn.Parameter(torch.ones(1))
    with pytest.raises(UnknownRole, match=r"model\.layers\.0 \(LlamaDecoderLayer.*'scale'"):
        roles(model)


def test_on_a_cross_attention_block_only_scalars_are_taken_for_gates() -> None:
    model = tiny_models.build("mllama")
    model.model.language_model.layers[1].scale = nn.Parameter(torch.ones(16))
    with pytest.raises(UnknownRole, match=r"layers\.1 \(MllamaCrossAttentionDecoderLayer.*'scale'"):
        roles(model)


def test_an_unseen_joint_between_tower_and_language_model_is_refused() -> None:
    model = tiny_models.build("mllama")
    model.model.gadget = WeirdGadget()
    with pytest.raises(UnknownRole, match=r"model\.gadget \(WeirdGadget\)"):
        roles(model)


def test_two_stacks_of_blocks_of_equal_length_are_refused() -> None:
    model = tiny_models.build("llama")
    model.model.more_layers = nn.ModuleList(tiny_models.build("llama").model.layers)
    with pytest.raises(UnknownRole, match=r"model\.layers \(3\), model\.more_layers \(3\)"):
        roles(model)


def test_an_encoder_decoder_is_refused() -> None:
    config = hf.T5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0)
    with pytest.raises(UnknownRole, match="encoder-decoder"):
        roles(hf.T5ForConditionalGeneration(config))


def test_a_module_that_is_no_pretrained_model_is_refused() -> None:
    with pytest.raises(UnknownRole, match="WeirdGadget"):
        roles(WeirdGadget())


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT reads the old name
def test_adapter_parameters_have_the_role_of_what_they_adapt() -> None:
    peft = pytest.importorskip("peft")
    modules = ["q_proj", "gate", "embed_tokens", "lm_head"]
    config = peft.LoraConfig(
        r=2, target_modules=modules, target_parameters=["mlp.experts.down_proj"], modules_to_save=["input_layernorm"]
    )
    base = roles(tiny_models.build("qwen3_moe"))
    found = roles(peft.get_peft_model(tiny_models.build("qwen3_moe"), config))
    wrapping = re.compile(r"^base_model\.model\.|\.base_layer|\.original_module|\.modules_to_save\.default")
    known = {p.name: (p.role, p.layer) for p in base}
    adapters = {}
    for p in found:
        if "lora_" in p.name:
            adapters[re.sub(r"^base_model\.model\.|\.lora_.*", "", p.name)] = (p.role, p.layer)
        else:
            assert known[wrapping.sub("", p.name)] == (p.role, p.layer)
    assert adapters == {
        "model.embed_tokens": (Role.EMBEDDING, None),
        "lm_head": (Role.HEAD, None),
        **{f"model.layers.{block}.self_attn.q_proj": (Role.ATTENTION, block) for block in range(3)},
        **{f"model.layers.{block}.mlp.gate": (Role.ROUTER, block) for block in (1, 2)},
        **{f"model.layers.{block}.mlp.experts": (Role.MLP, block) for block in (1, 2)},
    }


SPOTS = {
    "Qwen2MoeConfig": {
        "model.layers.0.mlp.shared_expert_gate.weight": ("router", 0),
        "model.layers.0.mlp.shared_expert.up_proj.weight": ("mlp", 0),
    },
    "GptOssConfig": {
        "model.layers.1.self_attn.sinks": ("attention", 1),
        "model.layers.1.mlp.router.bias": ("router", 1),
        "model.layers.1.mlp.experts.gate_up_proj_bias": ("mlp", 1),
    },
    "Qwen3NextConfig": {
        "model.layers.0.linear_attn.in_proj_qkvz.weight": ("mixer", 0),
        "model.layers.0.linear_attn.norm.weight": ("norm", 0),
        "model.layers.3.self_attn.q_proj.weight": ("attention", 3),
    },
    "FalconH1Config": {
        "model.layers.0.mamba.dt_bias": ("mixer", 0),
        "model.layers.0.self_attn.q_proj.weight": ("attention", 0),
        "model.layers.0.feed_forward.up_proj.weight": ("mlp", 0),
    },
    "RecurrentGemmaConfig": {
        "model.layers.0.temporal_block.rg_lru.recurrent_param": ("mixer", 0),
        "model.layers.2.temporal_block.q_proj.weight": ("attention", 2),
    },
    "Gemma4TextConfig": {
        "model.layers.0.per_layer_input_gate.weight": ("embedding", 0),
        "model.layers.0.post_per_layer_input_norm.weight": ("norm", 0),
        "model.per_layer_model_projection.weight": ("embedding", None),
    },
    "OPTConfig": {
        "model.decoder.layers.0.fc1.bias": ("mlp", 0),
        "model.decoder.embed_positions.weight": ("embedding", None),
    },
    "BloomConfig": {"transformer.word_embeddings_layernorm.bias": ("norm", None)},
    "LlavaNextConfig": {"model.image_newline": ("projector", None)},
    "Idefics2Config": {
        "model.connector.perceiver_resampler.layers.0.self_attn.q_proj.weight": ("projector", None),
        "model.text_model.layers.0.self_attn.q_proj.weight": ("attention", 0),
    },
    "Qwen2_5OmniThinkerConfig": {
        "model.audio_tower.layers.0.self_attn.q_proj.weight": ("audio", 0),
        "model.visual.blocks.0.norm1.weight": ("vision", 0),
    },
}


@pytest.mark.parametrize("config", SPOTS)
def test_what_is_special_about_other_architectures_has_its_role(config: str) -> None:
    """Full-size configurations on the meta device; only the parameters that are told by rare evidence."""
    kind = hf.AutoModelForImageTextToText if "text_config" in vars(getattr(hf, config)()) else hf.AutoModelForCausalLM
    with torch.device("meta"):
        found = {p.name: p for p in roles(kind.from_config(getattr(hf, config)()))}
    assert {name: (found[name].role, found[name].layer) for name in SPOTS[config]} == SPOTS[config]


class OlderSparseBlock(nn.Module):
    """A mixture as code outside the library often has it: a linear gate beside a list of networks."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 4, bias=False)
        self.experts = nn.ModuleList(tiny_models.build("llama").model.layers[0].mlp for _ in range(4))
        self.shared_expert_gate = nn.Linear(16, 1)


def test_a_linear_gate_beside_a_list_of_experts_is_a_router() -> None:
    model = tiny_models.build("llama")
    model.model.layers[1].mlp = OlderSparseBlock()
    inside = {p.name.split(".mlp.")[1]: p.role for p in roles(model) if p.name.startswith("model.layers.1.mlp.")}
    assert {name for name, role in inside.items() if role is Role.ROUTER} == set(
        expand("gate.weight shared_expert_gate.{weight,bias}")
    )
    assert {role for name, role in inside.items() if name.startswith("experts.")} == {Role.MLP}
    assert len(inside) == 3 + 4 * 3


def test_a_linear_of_another_width_beside_experts_is_refused() -> None:
    model = tiny_models.build("llama")
    model.model.layers[1].mlp = OlderSparseBlock()
    model.model.layers[1].mlp.gate = nn.Linear(16, 5)
    with pytest.raises(UnknownRole, match=r"model\.layers\.1\.mlp\.gate"):
        roles(model)
