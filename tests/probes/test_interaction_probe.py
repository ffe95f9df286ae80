"""Interactions at the moments of a run of a tiny base, and on the command line."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import probe_kit
import tiny_base
from holdfast.cli import main
from holdfast.data.rows import read_rows
from holdfast.data.sources import ExampleRows
from holdfast.errors import DataError
from holdfast.plan import check
from holdfast.probes import PROBES
from holdfast.probes.interactions.cheap import InteractionsCheap
from holdfast.probes.interactions.probe import Interactions
from holdfast.probes.scene import Scene
from holdfast.records import Estimate
from holdfast.run import run
from holdfast.signals.interactions import READ

PROMPT = "rule J=10 Q=10 K=10\ncards 4 Q A 4\ntarget 24"
PROBE = Interactions(prompts=4, players=4, templates=("{prompt}", "Task: {prompt}"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base.write(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> probe_kit.Kit:
    """A model that is its base."""
    return probe_kit.kit(tmp_path_factory.mktemp("kit"), moved=0.0)


def plain(told: Any) -> dict[str, Any]:
    """Return readings without their intervals."""
    return {name: value.value if isinstance(value, Estimate) else value for name, value in told.items()}


def moments(kit: probe_kit.Kit, probe: Any, count: int) -> list[tuple[Any, Any]]:
    """Return scene and readings of so many moments, each with what those before it left, as files hold it."""
    found: list[tuple[Any, Any]] = []
    for step in range(count):
        past = tuple(json.loads(json.dumps(scene.kept)) for scene, _ in found)
        scene = kit.scene(step, past)
        found.append((scene, plain(probe.measure(scene))))
    return found


def test_a_model_that_is_not_trained_changes_no_interaction(still: probe_kit.Kit) -> None:
    for _, told in moments(still, PROBE, 3):
        for name in ("emerged_count", "removed_count", "turnover", "balance", "noise_turnover"):
            assert told[f"interactions_{name}"] == 0.0, name
        assert told["interactions_preserved_count"] > 0
        assert told["interactions_gamma_preserved"] is None
        assert 0 <= told["interactions_stable_preserved"] <= 1


def test_a_model_that_moves_changes_interactions_and_who_played_is_kept(still: probe_kit.Kit) -> None:
    weights = [weight.clone() for weight in still.model.parameters()]
    (first, _), *_ = moments(still, PROBE, 1)
    try:
        with torch.no_grad():
            for number, weight in enumerate(still.model.parameters()):
                weight.add_(0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number)))
        scene = still.scene(5, (first.kept,))
        told = plain(PROBE.measure(scene))
    finally:
        with torch.no_grad():
            for weight, before in zip(still.model.parameters(), weights, strict=True):
                weight.copy_(before)
    assert told["interactions_turnover"] > 0.1
    assert told["interactions_removed"] > 0
    assert told["interactions_emerged"] == pytest.approx(
        told["interactions_emerged_reliable"] + told["interactions_emerged_unreliable"]
    )
    games = first.kept["asked"]["games"]
    assert len(games) == 4
    assert {"players", "target", "base_probability"} <= games[0].keys()
    assert "asked" not in scene.kept
    assert scene.kept["told"]["turnover"]["n"] == 4


def test_another_model_says_what_generalizes(still: probe_kit.Kit, base: Path) -> None:
    twins = Interactions(prompts=2, players=3, templates=("{prompt}",), repeats=1, references=(str(base), str(base)))
    (start, first), (later, then) = moments(still, twins, 2)
    assert later.flops < 0.5 * start.flops  # they are asked once
    # The twins are the base itself, and so is the model.
    assert first["interactions_gamma_preserved"] == then["interactions_gamma_preserved"] == 1.0
    assert first["interactions_stable_preserved"] is None
    assert first["interactions_noise_turnover"] is None


def permuted(base: Path, folder: Path) -> Path:
    """The base with its hidden units in another order: the same function, other vectors."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    order = torch.randperm(model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            written_to = name.endswith(("o_proj.weight", "down_proj.weight")) or weight.ndim == 1
            weight.copy_(weight[order] if written_to else weight[:, order])
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def test_another_model_is_masked_by_a_vector_of_its_own(still: probe_kit.Kit, base: Path, tmp_path: Path) -> None:
    twin = permuted(base, tmp_path / "twin")
    probe = Interactions(prompts=2, players=3, templates=("{prompt}",), repeats=1, references=(str(twin),))
    ((_, told),) = moments(still, probe, 1)
    assert told["interactions_gamma_preserved"] == 1.0
    # One of another width can be asked at all.
    wider = written("gpt2", base, tmp_path / "wider", width=24)
    ((_, told),) = moments(still, dataclasses.replace(probe, references=(str(wider),)), 1)
    assert 0 <= told["interactions_gamma_preserved"] <= 1


def test_the_cheap_probe_reads_shares(still: probe_kit.Kit) -> None:
    told = InteractionsCheap(prompts=2, players=3).measure(still.scene())
    assert 0 <= told["words_evidence"] <= 1
    assert 0 <= told["words_high_order"] <= 1


def test_rows_of_few_words_are_refused_before_anything_is_measured(still: probe_kit.Kit, tmp_path: Path) -> None:
    held_out = tmp_path / "short.jsonl"
    held_out.write_text("".join(json.dumps({"prompt": f"cards {n}", "completion": "24"}) + "\n" for n in range(12)))
    source = ExampleRows(read_rows(str(held_out)), still.stage.speaker)
    short = Scene(still.model, 0, dataclasses.replace(still.stage, source=source, kept={}))
    probe = Interactions(players=3, prompts=2, path=str(held_out))
    with pytest.raises(DataError, match="0 rows can be asked, and it takes 2; training 0 has 2 content words"):
        probe.cost(short)
    assert Interactions(players=2, prompts=2, path=str(held_out)).cost(short) > 0


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 10"):
        Interactions(players=11)
    with pytest.raises(ValueError, match="templates"):
        Interactions(templates=("no place for it",))
    with pytest.raises(ValueError, match="masking"):
        Interactions(masking="zeros")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="prompts"):
        InteractionsCheap(prompts=1)
    assert Interactions(templates=["{prompt}"]) == Interactions(templates=("{prompt}",))  # type: ignore[arg-type]


def test_the_probe_writes_what_the_signal_reads() -> None:
    assert "interactions" in PROBES
    assert set(READ) <= set(Interactions.readings)


def verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["holdfast", "interactions", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_the_verb_prints_and_draws_one_prompt(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_base.write(tmp_path / "other", seed=1)
    code, out, err = verb(
        monkeypatch, capsys, str(other), "--prompt", PROMPT, "--target", "24", "--base", str(base), "--players", "5",
        "--output", str(tmp_path / "page"),
    )  # fmt: skip
    assert code == 0, err
    assert "target: '24'" in out
    assert "emerged" in out
    found = json.loads((tmp_path / "page" / "interactions.json").read_text())
    assert len(found["players"]) == 5
    assert len(found["interactions"]) == 2 * 31
    assert [side["name"] for side in found["sides"]] == [str(base), str(other)]
    for number, side in enumerate(found["sides"]):
        total = sum(one["strengths"][number] for one in found["interactions"])
        assert total == pytest.approx(side["everything"] - side["nothing"], abs=side["residual"] + 1e-6)
    page = (tmp_path / "page" / "interactions.html").read_text()
    assert "By order" in page
    assert (tmp_path / "page" / "interactions-figures" / "interactions.png").is_file()


def written(architecture: str, base: Path, folder: Path, *, width: int = 16) -> Path:
    """The tiny base's tokenizer with a random model of another architecture."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    common = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": 1,
        "bos_token_id": 1,
    }
    config = {
        "qwen2": lambda: transformers.Qwen2Config(
            **common, hidden_size=width, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, max_position_embeddings=256, tie_word_embeddings=True,
        ),
        "gpt2": lambda: transformers.GPT2Config(**common, n_embd=width, n_layer=2, n_head=2, n_positions=256),
    }[architecture]()  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("architecture", ["qwen2", "gpt2"])
def test_the_verb_runs_on_other_architectures(
    architecture: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = written(architecture, base, tmp_path / architecture)
    code, out, err = verb(monkeypatch, capsys, str(model), "--prompt", PROMPT, "--players", "3", "--target", "24")
    assert code == 0, err
    read, of = re.findall(r"([\d,]+) tokens read of ([\d,]+)", out)[0]
    assert int(read.replace(",", "")) < int(of.replace(",", ""))
    assert "preserved" not in out


@pytest.mark.parametrize("architecture", ["qwen2", "gpt2"])
def test_a_run_of_another_architecture_is_stopped_by_the_signal_and_replayed(
    architecture: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    probe_kit.without_page(monkeypatch)
    stop = {"signal": "interactions", "facts": 0, "confidence": 0.51, "checks": 1}
    suite = {"environment": "general_points", "rule": "faces_as_5_7_9", "purpose": "ood", "size": 4}
    values = {
        **probe_kit.recipe(tmp_path, stop=stop, probes={"interactions": {"prompts": 2, "players": 2}}),
        "model_name_or_path": str(written(architecture, base, tmp_path / architecture)),
        "suites": {"ood": {**suite, "decoding": {"max_new_tokens": 2}}}, "budget": {"steps": 6}, "learning_rate": 3e-2,
    }  # fmt: skip
    done = run(check(values, source="test"), folder=tmp_path / "run")
    assert done.status == "stopped"
    decision = done.records[-1].decision
    assert decision is not None
    changes = [word for key, value in stop.items() if key != "signal" for word in ("--set", f"{key}={value}")]
    words = ("replay", str(tmp_path / "run"), "--signal", "interactions", *changes, "--json")
    monkeypatch.setattr(sys, "argv", ["holdfast", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    (section,) = json.loads(capsys.readouterr().out)
    (told,) = [one for one in section["signals"] if one["signal"] == "interactions"]
    assert [(one["step"], one["kept"]) for one in told["runs"]] == [(done.records[-1].step, decision.best_step)]


def test_the_verb_watches_the_models_own_answer_without_a_target(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = verb(monkeypatch, capsys, str(base), "--prompt", PROMPT, "--players", "3")
    assert code == 0, err
    assert "target: " in out


def test_an_answer_without_words_asks_for_a_target(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = written("qwen2", base, tmp_path / "qwen2")  # whose random answer is one control character, again and again
    code, _, err = verb(monkeypatch, capsys, str(model), "--prompt", PROMPT, "--players", "3")
    assert code == 2
    assert "name a word to watch, --target" in err


def test_the_verb_refuses_a_masking_that_it_does_not_know(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = verb(monkeypatch, capsys, str(base), "--prompt", PROMPT, "--masking", "zeros")
    assert code == 2
    assert "no such masking" in err
