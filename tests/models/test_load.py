"""A model is loaded completely and safely, or not at all and with the reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub import errors as hub
from safetensors.torch import load_file, save_file

from holdfast.errors import ModelError, ModelNotFound, UserError
from holdfast.models import find as finding
from holdfast.models import load as loading
from holdfast.models.find import exists, find, shipped
from holdfast.models.load import load
from tiny_models import build
from tiny_run import tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete tiny model."""
    build("llama").to(torch.bfloat16).save_pretrained(tmp_path / "model")
    tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_every_weight_comes_from_the_files_in_their_dtype(folder: Path) -> None:
    loaded = load(str(folder))
    for name, tensor in build("llama").to(torch.bfloat16).state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}
    assert not loaded.model.training
    assert (loaded.source, loaded.folder, loaded.ignored) == (str(folder), folder, ())
    assert load(str(folder), dtype="float32").model.dtype == torch.float32


def test_the_fingerprint_is_of_the_contents_and_not_of_the_place(folder: Path, tmp_path: Path) -> None:
    first = load(str(folder))
    shutil.copytree(folder, tmp_path / "copy")
    second = load(str(tmp_path / "copy"))
    assert first.fingerprint == second.fingerprint
    assert first.tokenizer_fingerprint == second.tokenizer_fingerprint
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    changed = load(str(folder))
    assert changed.fingerprint != first.fingerprint
    assert changed.tokenizer_fingerprint == first.tokenizer_fingerprint


def test_a_missing_weight_is_not_filled_with_random_numbers(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"incomplete: 1 weights are missing.*layers\.1\.mlp\.up_proj"):
        load(str(folder))


def test_a_weight_of_another_shape_is_refused(folder: Path) -> None:
    change_config(folder, intermediate_size=32)
    with pytest.raises(ModelError):
        load(str(folder))


def test_a_tensor_without_a_place_in_the_model_is_named(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"extra.weight": torch.ones(2)}, folder / "model.safetensors", metadata={"format": "pt"})
    assert load(str(folder)).ignored == ("extra.weight",)


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    build("qwen2").save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    model = load(str(tmp_path)).model
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.parametrize("architecture", ["gemma3", "mllama", "qwen2_5_vl"])
def test_image_text_models_are_loaded_as_what_they_are(architecture: str, tmp_path: Path) -> None:
    model = build(architecture)
    model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    loaded = load(str(tmp_path))
    assert type(loaded.model) is type(model)
    assert loaded.processor is None


def test_pickled_weights_are_refused_with_the_cure(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04never opened")
    with pytest.raises(ModelError, match=r"pickled weights only \(pytorch_model\.bin\).*convert"):
        load(str(folder))


@pytest.mark.parametrize("shard", ["../outside.safetensors", "/etc/passwd", "a/b.safetensors", "..", "C:x", ""])
def test_a_shard_index_that_leads_out_of_the_folder_is_refused(folder: Path, shard: str) -> None:
    shutil.copy(folder / "model.safetensors", folder.parent / "outside.safetensors")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": shard}}))
    with pytest.raises(ModelError, match="not a plain file name"):
        load(str(folder))


def test_a_sharded_model_is_loaded(tmp_path: Path) -> None:
    build("llama").save_pretrained(tmp_path, max_shard_size="8KB")
    tokenizer().save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors.index.json").is_file()
    assert load(str(tmp_path)).model.dtype == torch.float32


def test_code_that_comes_with_a_model_does_not_run(folder: Path) -> None:
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass C: pass\nclass M: pass\n")
    change_config(folder, model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})
    with pytest.raises(ModelError, match=r"config\.json cannot be used"):
        load(str(folder))
    assert not (folder / "ran").exists()


def test_a_config_that_names_an_internal_attention_is_refused(folder: Path) -> None:
    change_config(folder, _attn_implementation_internal="someone/kernel")
    with pytest.raises(ModelError, match="_attn_implementation_internal"):
        load(str(folder))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model_type": "no_such_model"}', "{}"])
def test_a_broken_config_is_one_line_and_not_a_traceback(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config\.json") as caught:
        load(str(folder))
    assert "\n" not in str(caught.value)


def test_an_adapter_is_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="adapter"):
        load(str(folder))


def test_what_the_base_has_seen_is_read(folder: Path) -> None:
    assert load(str(folder)).exposure is None
    (folder / "exposure.json").write_text('{"values": [1]}')
    assert load(str(folder)).exposure == {"values": [1]}
    (folder / "exposure.json").write_text("[1]")
    with pytest.raises(ModelError, match="JSON object"):
        load(str(folder))


def test_a_missing_pad_token_is_chosen_from_the_vocabulary_and_said(folder: Path) -> None:
    assert load(str(folder)).pad_note == ""
    words = tokenizer()
    for unknown, expected in (("w9", "w9"), ("</s>", "</s>"), (None, "</s>")):
        plain = transformers.PreTrainedTokenizerFast(
            tokenizer_object=words.backend_tokenizer, eos_token="</s>", unk_token=unknown
        )
        size = len(plain.get_vocab())
        note = loading._ensure_pad(plain) if "<pad>" not in plain.get_vocab() else _without_pad(plain, expected)
        assert plain.pad_token == expected
        assert repr(expected) in note
        assert len(plain.get_vocab()) == size


def _without_pad(plain: Any, expected: str) -> str:
    """Choose as if the vocabulary held no spare pad token."""
    spare = loading.PADS
    try:
        loading.PADS = ()
        return loading._ensure_pad(plain)
    finally:
        loading.PADS = spare


def test_a_spare_pad_token_of_the_vocabulary_is_preferred() -> None:
    plain = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer().backend_tokenizer, eos_token="</s>")
    loading._ensure_pad(plain)
    assert plain.pad_token == "<pad>"


def test_a_shipped_base_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "family" / "bases" / "puddle"
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}")
    monkeypatch.setattr(finding, "PACKAGE", tmp_path)
    assert shipped() == {"puddle": base}
    assert find("puddle") == base
    assert exists("puddle")
    assert not exists("pudle")
    with pytest.raises(ModelNotFound, match='Did you mean "puddle"'):
        find("pudle")


def test_a_folder_is_found_and_a_hub_id_is_left_alone(folder: Path) -> None:
    assert find(str(folder)) == folder
    assert find("Qwen/Qwen2.5-0.5B-Instruct") == "Qwen/Qwen2.5-0.5B-Instruct"


def test_a_folder_without_a_model_says_where_there_is_one(folder: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"holds no config\.json; these folders inside it do: model"):
        find(str(folder.parent))
    with pytest.raises(ModelNotFound, match="is a file"):
        find(str(folder / "config.json"))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelNotFound, match="holds no"):
        load(str(folder))


@pytest.mark.parametrize("name", ["", "./absent/model", "../absent", "a/b/c", "hello world", "/absent"])
def test_what_is_nothing_is_not_taken_for_a_hub_id(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFound):
        find(name)


def _bare(kind: Any) -> Any:
    """An exception of the hub without the response that its constructor asks for."""
    return kind.__new__(kind, "no")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda: _bare(hub.GatedRepoError), "is gated: accept its terms"),
        (lambda: _bare(hub.RepositoryNotFoundError), "not on the hub"),
        (lambda: _bare(hub.RevisionNotFoundError), "no revision 'v9'"),
        (lambda: hub.LocalEntryNotFoundError("offline"), "hub cannot be reached"),
        (lambda: hub.OfflineModeIsEnabled("offline"), "hub cannot be reached"),
        (lambda: ConnectionResetError("reset"), "hub cannot be reached"),
    ],
)
def test_a_hub_that_does_not_deliver_is_one_line(monkeypatch: pytest.MonkeyPatch, fault: Any, words: str) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise fault()

    monkeypatch.setattr(loading, "snapshot_download", refuse)
    with pytest.raises(ModelNotFound, match=words) as caught:
        load("someone/model", revision="v9")
    assert "\n" not in str(caught.value)


def test_only_safe_files_of_the_root_are_downloaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def deliver(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(folder)

    monkeypatch.setattr(loading, "snapshot_download", deliver)
    loaded = load("someone/model", revision="abc")
    assert loaded.fingerprint == load(str(folder)).fingerprint
    assert (asked["name"], asked["revision"]) == ("someone/model", "abc")
    assert "*.py" not in asked["allow_patterns"]
    assert not any("bin" in pattern for pattern in asked["allow_patterns"])


def test_an_unknown_dtype_is_a_user_error(folder: Path) -> None:
    with pytest.raises(UserError, match="float32"):
        load(str(folder), dtype="fp32")
