from __future__ import annotations

import re
from typing import Any

import pytest

import tiny_models
from holdfast.errors import SelectionError
from holdfast.models.roles import ParameterRole, Role
from holdfast.models.structure import roles
from holdfast.selection import Selected, parse, select


def of(architecture: str, spec: Any, *, text_only: bool = False) -> Selected:
    found = roles(tiny_models.build(architecture, device="meta"))
    return select(found, parse(spec), text_only=text_only)


def blocks(selected: Selected) -> set[int]:
    return {int(hit[1]) for name in selected.names if (hit := re.search(r"layers\.(\d+)\.", name))}


def test_attention_of_a_llama_is_its_four_projections() -> None:
    selected = of("llama", "attention")
    ends = {name.split(".self_attn.")[1] for name in selected.names}
    assert ends == {f"{part}_proj.weight" for part in "qkvo"}
    assert (len(selected.names), selected.n_parameters, selected.n_total) == (12, 2304, 8944)
    assert selected.notes == ()


def test_mlp_of_a_mixture_holds_experts_and_shared_experts_and_no_router() -> None:
    names = of("deepseek_v3", "mlp").names
    assert {name.split(".mlp.")[1].split(".")[0] for name in names if ".layers.1." in name} == {
        "experts",
        "shared_experts",
    }


def test_names_come_in_model_order() -> None:
    order = [p.name for p in roles(tiny_models.build("llama", device="meta"))]
    names = of("llama", {"roles": ["norm", "attention"]}).names
    assert list(names) == [name for name in order if name in names]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("first:2", {0, 1}),
        ("last:1", {2}),
        ("spread:1", {1}),
        ("1-2", {1, 2}),
        ([0, 2], {0, 2}),
    ],
)
def test_layers_restrict_a_role(spec: Any, expected: set[int]) -> None:
    assert blocks(of("llama", {"preset": "mlp", "layers": spec})) == expected


def test_full_with_layers_is_whole_blocks_and_nothing_around_them() -> None:
    selected = of("mllama", {"preset": "full", "layers": "first:2"})
    assert all(
        name.startswith(("model.language_model.layers.0.", "model.language_model.layers.1.")) for name in selected.names
    )
    assert {row.role for row in selected.rows() if row.tensors} == {"attention", "cross_attention", "mlp", "norm"}


def test_layers_of_a_tower_are_counted_in_the_tower() -> None:
    selected = of("mllama", {"roles": ["vision", "attention"], "layers": "last:1"})
    assert {name.rpartition("layers.")[0] + name.rpartition("layers.")[2][0] for name in selected.names} == {
        "model.vision_model.global_transformer.0",
        "model.language_model.4",
    }


def test_include_adds_and_exclude_takes_away() -> None:
    selected = of("llama", {"preset": "attention", "include": ["model.norm"], "exclude": ["layers.1", "k_proj"]})
    kept = [f"model.layers.{block}.self_attn.{part}_proj.weight" for block in (0, 2) for part in "qvo"]
    assert selected.names == (*kept, "model.norm.weight")


def test_include_alone_selects_only_what_it_names_within_the_layers() -> None:
    assert of("llama", {"include": ["q_proj"], "layers": [1]}).names == ("model.layers.1.self_attn.q_proj.weight",)
    assert of("llama", {"include": ["lm_head"], "layers": [1], "roles": ["norm"]}).names[-1] == "lm_head.weight"


@pytest.mark.parametrize("spec", ["head", {"include": ["lm_head"]}, "embedding"])
def test_one_name_of_a_tied_tensor_selects_the_tensor_once_and_says_so(spec: Any) -> None:
    selected = of("qwen2", spec)
    assert selected.names == ("model.embed_tokens.weight",)
    assert selected.tied == ("lm_head.weight",)
    assert selected.n_parameters == 96 * 16
    assert (
        "lm_head.weight (head) and model.embed_tokens.weight (embedding) are one tied tensor: both learn"
        in (selected.notes[0])
    )


def test_excluding_one_name_of_a_tied_tensor_freezes_the_other_too_and_says_so() -> None:
    selected = of("qwen2", {"preset": "full", "exclude": ["lm_head"]})
    assert "model.embed_tokens.weight" not in selected.names
    assert "both stay frozen" in selected.notes[0]


def test_full_counts_a_tied_tensor_once() -> None:
    model = tiny_models.build("gemma3", device="meta")
    assert of("gemma3", "full").n_parameters == sum(p.numel() for p in model.parameters())


def test_cross_attention_is_not_attention_and_a_note_says_so() -> None:
    selected = of("mllama", "attention")
    assert blocks(selected) == {0, 2, 4}
    assert "roles: [cross_attention]" in selected.notes[0]
    both = of("mllama", {"preset": "attention", "roles": ["cross_attention"]})
    assert blocks(both) == {0, 1, 2, 3, 4}
    assert both.notes == ()


def test_on_text_only_what_runs_is_selected() -> None:
    selected = of("mllama", "full", text_only=True)
    assert blocks(selected) == {0, 2, 4}
    assert not any("vision" in name or "projector" in name for name in selected.names)
    assert len(selected.notes) == 2
    whole = of("mllama", {"preset": "full", "layers": "first:2"}, text_only=True)
    assert [note for note in whole.notes if "towers" in note] == []  # whole blocks never meant the tower
    assert blocks(of("mllama", {"preset": "mlp", "layers": "first:2"}, text_only=True)) == {0, 2}
    assert blocks(of("mllama", {"preset": "mlp", "layers": "first:2"})) == {0, 1}


def test_rows_sum_to_the_totals_and_name_the_blocks() -> None:
    selected = of("jamba", "attention")
    rows = {row.role: row for row in selected.rows()}
    assert rows["attention"].layers == "1, 3"
    assert sum(row.n_parameters for row in rows.values()) == selected.n_parameters == rows["attention"].n_parameters
    assert sum(row.of_parameters for row in rows.values()) == selected.n_total
    assert list(rows) == [role.value for role in Role if role.value in rows]


@pytest.mark.parametrize(
    ("architecture", "spec", "text_only", "message"),
    [
        ("mamba2", "attention", False, "no parameters with role 'attention'. It has: mixer, norm, embedding, head"),
        ("mamba2", {"preset": "mlp", "include": ["mixer"]}, False, "no parameters with role 'mlp'"),
        ("llama", "router", False, "no parameters with role 'router'"),
        ("mllama", "vision", True, "role 'vision' does not run on text"),
        ("mllama", {"preset": "mlp", "roles": ["cross_attention"]}, True, "'cross_attention' does not run on text"),
        ("llama", {"preset": "attention", "layers": "first:4"}, False, "first:4: the model has 3 blocks"),
        ("llama", {"preset": "attention", "layers": "2-3"}, False, "no block 3 to train. The blocks are 0-2"),
        ("mllama", {"preset": "mlp", "layers": [1]}, True, "no block 1 to train. The blocks are 0, 2, 4"),
        ("jamba", {"preset": "attention", "layers": [0, 1]}, False, "block 0 selects nothing"),
        ("jamba", {"preset": "attention", "layers": "first:1"}, False, "nothing is selected in layers first:1"),
        ("llama", {"roles": ["embedding", "mlp"], "layers": "first:1"}, False, "named under include"),
        (
            "llama",
            {"preset": "attention", "include": ["q_prj"]},
            False,
            r"'q_prj' matches no parameter.*q_proj\.weight",
        ),
        ("llama", {"include": ["layer.1"]}, False, "matches no parameter.*whole segments"),
        ("llama", {"include": ["q_proj", "up_proj"], "exclude": ["o_proj"]}, False, "'o_proj' takes nothing away"),
        ("llama", {"preset": "attention", "exclude": ["self_attn"]}, False, "nothing is left to train"),
    ],
)
def test_what_matches_nothing_is_refused_with_what_there_is(
    architecture: str, spec: Any, text_only: bool, message: str
) -> None:
    with pytest.raises(SelectionError, match=message):
        of(architecture, spec, text_only=text_only)


def test_a_block_with_self_attention_runs_on_text_whatever_else_it_has() -> None:
    found = [
        ParameterRole("layers.0.attn", Role.ATTENTION, 0, (2, 2)),
        ParameterRole("layers.0.cross", Role.CROSS_ATTENTION, 0, (2, 2)),
        ParameterRole("layers.1.cross", Role.CROSS_ATTENTION, 1, (2, 2)),
        ParameterRole("layers.1.mlp", Role.MLP, 1, (2, 2)),
    ]
    assert select(found, parse("full"), text_only=True).names == ("layers.0.attn", "layers.0.cross")


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT reads the old name
def test_adapters_of_the_attention_can_be_named_without_the_weights_they_wrap() -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "up_proj"])
    model = peft.get_peft_model(tiny_models.build("llama"), config)
    selected = select(roles(model), parse({"include": ["self_attn.**.lora_*"]}))
    assert len(selected.names) == 3 * 2
    assert all(".self_attn.q_proj.lora_" in name for name in selected.names)
