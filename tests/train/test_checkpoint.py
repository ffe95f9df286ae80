"""Checkpoints resume bit for bit, are plain model folders, and are never believed when damaged."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from holdfast.errors import CheckpointError, NonFiniteLoss, RunFolderError
from holdfast.models import durable
from holdfast.models.compute import exported
from holdfast.models.load import load
from holdfast.train import checkpoint as ck
from holdfast.train import manifest
from tiny_run import IDENTITY, Run, adamw, same, tiny_llama, tokenizer

OPTIMIZERS: dict[str, Any] = {
    "adamw fused": adamw,
    "adamw foreach": lambda weights: torch.optim.AdamW(weights, lr=1e-2, foreach=True),
    "adamw plain": lambda weights: torch.optim.AdamW(weights, lr=1e-2, foreach=False, amsgrad=True),
    "adamw tensor rate": lambda weights: torch.optim.AdamW(weights, lr=torch.tensor(1e-2), foreach=False),
    "sgd": lambda weights: torch.optim.SGD(weights, lr=1e-2),
    "sgd momentum": lambda weights: torch.optim.SGD(weights, lr=1e-2, momentum=0.9),
    "adafactor": lambda weights: torch.optim.Adafactor(weights, lr=1e-2),
}
TRAINABLE: dict[str, Any] = {
    "full": lambda name: True,
    "attention": lambda name: "self_attn" in name,
    "norms": lambda name: "norm" in name,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """More threads make nothing faster at this size, and threads do not survive a fork."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A run folder with checkpoints of steps 2 and 4."""
    Run(tmp_path / "run").train(4, save_at=(2, 4))
    return tmp_path / "run"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_run_equals_an_unbroken_one_with_any_optimizer(tmp_path: Path, optimizer: str) -> None:
    unbroken = Run(tmp_path / "a", make_optimizer=OPTIMIZERS[optimizer]).train(5)
    Run(tmp_path / "b", make_optimizer=OPTIMIZERS[optimizer]).train(4, save_at=(3,))
    resumed = Run(tmp_path / "b", make_optimizer=OPTIMIZERS[optimizer]).resume().train(5)
    assert same(resumed.weights(), unbroken.weights())
    assert resumed.metrics() == unbroken.metrics()


@pytest.mark.parametrize("trainable", TRAINABLE)
def test_a_resumed_run_equals_an_unbroken_one_whatever_learns(tmp_path: Path, trainable: str) -> None:
    unbroken = Run(tmp_path / "a", trainable=TRAINABLE[trainable]).train(4)
    Run(tmp_path / "b", trainable=TRAINABLE[trainable]).train(3, save_at=(1, 2))
    resumed = Run(tmp_path / "b", trainable=TRAINABLE[trainable]).resume().train(4)
    assert same(resumed.weights(), unbroken.weights())
    assert resumed.metrics() == unbroken.metrics()


def test_optimizer_state_comes_back_bit_for_bit(saved: Path) -> None:
    run = Run(saved / "elsewhere").train(4)
    resumed = Run(saved).resume()
    for mine, back in zip(run.optimizer.param_groups, resumed.optimizer.param_groups, strict=True):
        assert {k: v for k, v in mine.items() if k != "params"} == {k: v for k, v in back.items() if k != "params"}
        for left, right in zip(mine["params"], back["params"], strict=True):
            assert run.optimizer.state[left].keys() == resumed.optimizer.state[right].keys()
            for key, value in run.optimizer.state[left].items():
                other = resumed.optimizer.state[right][key]
                assert torch.equal(value, other)
                assert (value.dtype, value.device) == (other.dtype, other.device)


def test_options_that_changed_while_training_come_back_in_their_types(tmp_path: Path) -> None:
    run = Run(tmp_path).train(1)
    run.optimizer.param_groups[0].update(lr=1 / 3, betas=(0.5, 0.25))
    run.save()
    resumed = Run(tmp_path).resume()
    assert resumed.optimizer.param_groups[0]["lr"] == 1 / 3
    assert resumed.optimizer.param_groups[0]["betas"] == (0.5, 0.25)


def test_random_states_of_all_libraries_come_back(tmp_path: Path) -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    run = Run(tmp_path).train(1, save_at=(1,))
    drawn = draw()
    draw()
    Run(tmp_path).resume()
    assert draw() == drawn
    assert run.step == 1


def test_saving_changes_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path).train(1)
    before, state = run.weights(), torch.get_rng_state()
    objects = [id(p) for p in run.model.parameters()]
    run.save()
    assert same(run.weights(), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert [id(p) for p in run.model.parameters()] == objects
    assert run.model.training
    assert run.model.config.dtype == tiny_llama().config.dtype


@pytest.mark.parametrize("save_dtype", [torch.bfloat16, torch.float32])
def test_a_checkpoint_is_a_plain_model_folder(tmp_path: Path, save_dtype: torch.dtype) -> None:
    run = Run(tmp_path).train(1)
    folder = run.save(save_dtype=save_dtype)
    loaded = load(str(folder))
    with exported(run.model, save_dtype):
        assert same(loaded.model.state_dict(), run.model.state_dict())
    assert {p.dtype for p in loaded.model.parameters()} == {save_dtype}
    assert loaded.model.lm_head.weight is loaded.model.model.embed_tokens.weight
    assert loaded.tokenizer("w5 w6").input_ids == tokenizer()("w5 w6").input_ids


def test_a_checkpoint_holds_no_pickle(saved: Path) -> None:
    suffixes = {path.suffix for path in (saved / "checkpoint-4").rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".safetensors", ".jinja"}
    assert not any(path.read_bytes()[:1] == b"\x80" for path in (saved / "checkpoint-4").rglob("*.json"))


def test_what_the_base_has_seen_travels_with_the_checkpoint(tmp_path: Path) -> None:
    run = Run(tmp_path).train(1)
    folder = ck.write(
        tmp_path, step=1, model=run.model, tokenizer=tokenizer(), optimizer=None, trainable=run.names, state={},
        logs=[], save_dtype=torch.bfloat16, identity=IDENTITY, exposure={"values": [1, 2]},
    )  # fmt: skip
    assert load(str(folder)).exposure == {"values": [1, 2]}
    with pytest.raises(CheckpointError, match="without an optimizer"):
        Run(tmp_path).resume()


def test_weights_that_are_not_finite_are_never_saved(saved: Path) -> None:
    run = Run(saved).resume().train(5)
    with torch.no_grad():
        run.model.model.layers[1].self_attn.q_proj.weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteLoss, match=r"layers\.1\.self_attn\.q_proj"):
        run.save()
    assert sorted(path.name for path in saved.glob("*checkpoint*")) == ["checkpoint-2", "checkpoint-4"]


def test_an_empty_run_folder_has_no_newest_checkpoint(tmp_path: Path) -> None:
    assert ck.newest(tmp_path, identity=IDENTITY) is None
    assert ck.newest(tmp_path / "absent", identity=IDENTITY) is None


def test_the_newest_is_the_one_with_most_steps_whatever_the_clock_says(saved: Path) -> None:
    os.utime(saved / "checkpoint-4", (0, 0))
    found = ck.newest(saved, identity=IDENTITY)
    assert found is not None
    assert (found.step, found.skipped) == (4, ())


def test_every_flipped_bit_is_noticed(saved: Path) -> None:
    rng = random.Random(0)
    for path in [path for path in (saved / "checkpoint-4").rglob("*") if path.is_file()]:
        whole = path.read_bytes()
        for _ in range(25):
            place = rng.randrange(len(whole))
            flipped = bytearray(whole)
            flipped[place] ^= 1 << rng.randrange(8)
            path.write_bytes(flipped)
            with pytest.raises(CheckpointError):
                ck.verify(saved / "checkpoint-4")
        path.write_bytes(whole)
    ck.verify(saved / "checkpoint-4")


def test_every_cut_or_missing_file_is_noticed_and_the_older_checkpoint_taken(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in [path for path in (saved / "checkpoint-4").rglob("*") if path.is_file()]:
        whole = path.read_bytes()
        for length in (0, 1, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            found = ck.newest(saved, identity=IDENTITY)
            assert found is not None
            assert found.step == 2
            assert "checkpoint-4 is skipped" in found.skipped[0]
            assert path.name in found.skipped[0]
        path.unlink()
        found = ck.newest(saved, identity=IDENTITY)
        assert found is not None
        assert found.step == 2
        path.write_bytes(whole)
    assert "is skipped" in caplog.text


def test_nothing_intact_is_an_error_and_not_a_fresh_start(saved: Path) -> None:
    (saved / "checkpoint-4" / "manifest.json").unlink()
    (saved / "checkpoint-2" / "training" / "optimizer.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"none is intact.*checkpoint-4.*checkpoint-2"):
        ck.newest(saved, identity=IDENTITY)


def test_a_run_of_another_identity_is_refused_with_the_difference(saved: Path) -> None:
    with pytest.raises(RunFolderError, match="base: bbbb there, cccc here; data: not recorded there, dddd here"):
        ck.newest(saved, identity={"recipe": "aaaa", "base": "cccc", "data": "dddd"})
    found = ck.newest(saved, identity=None)
    assert found is not None
    assert found.manifest["identity"] == IDENTITY


def test_a_linked_or_renamed_checkpoint_is_not_believed(saved: Path, tmp_path: Path) -> None:
    (saved / "checkpoint-4").rename(tmp_path / "moved")
    (saved / "checkpoint-4").symlink_to(tmp_path / "moved")
    (saved / "checkpoint-9").mkdir()
    shutil.copytree(saved / "checkpoint-2", saved / "checkpoint-9", dirs_exist_ok=True)
    found = ck.newest(saved, identity=IDENTITY)
    assert found is not None
    assert found.step == 2
    assert "of step 2" in found.skipped[0]
    assert "link" in found.skipped[1]


def test_a_link_inside_a_checkpoint_is_not_followed(saved: Path, tmp_path: Path) -> None:
    training = saved / "checkpoint-4" / "training"
    training.rename(tmp_path / "moved")
    training.symlink_to(tmp_path / "moved")
    with pytest.raises(CheckpointError, match="behind a link"):
        ck.verify(saved / "checkpoint-4")


def test_a_manifest_that_climbs_out_is_refused(saved: Path) -> None:
    path = saved / "checkpoint-4" / "manifest.json"
    body = json.loads(path.read_text())
    del body["sha256"]
    body["files"]["../../secret"] = {"size": 1, "sha256": "0"}
    path.write_text(json.dumps(body | {"sha256": manifest.seal(body)}))
    with pytest.raises(CheckpointError, match="not a path below"):
        ck.verify(saved / "checkpoint-4")


def test_a_newer_format_is_refused_by_its_number(saved: Path) -> None:
    path = saved / "checkpoint-4" / "manifest.json"
    body = json.loads(path.read_text())
    del body["sha256"]
    body["format"] = 99
    path.write_text(json.dumps(body | {"sha256": manifest.seal(body)}))
    with pytest.raises(CheckpointError, match=r"newer holdfast wrote it \(format 99"):
        ck.verify(saved / "checkpoint-4")


def test_a_checkpoint_that_does_not_fit_the_model_is_refused(saved: Path) -> None:
    found = ck.newest(saved, identity=IDENTITY)
    assert found is not None
    other = Run(saved / "other", trainable=lambda name: "mlp" in name)
    with pytest.raises(CheckpointError, match="other weights learn"):
        ck.restore(found, model=other.model, optimizer=other.optimizer)
    regrouped = Run(saved / "regrouped", make_optimizer=lambda w: torch.optim.AdamW([{"params": [p]} for p in w]))
    with pytest.raises(CheckpointError, match="groups hold other parameters"):
        ck.restore(found, model=regrouped.model, optimizer=regrouped.optimizer)


def test_a_step_is_written_once(saved: Path) -> None:
    before = (saved / "checkpoint-4").stat().st_ino
    run = Run(saved).resume()
    run.save()
    assert (saved / "checkpoint-4").stat().st_ino == before
    with pytest.raises(RunFolderError, match="different run"):
        run.save(identity={"recipe": "zzzz"})


def test_a_damaged_checkpoint_of_the_same_step_is_replaced(saved: Path) -> None:
    run = Run(saved).resume()
    (saved / "checkpoint-4" / "model.safetensors").write_bytes(b"torn")
    run.save()
    ck.verify(saved / "checkpoint-4")


def test_pruning_keeps_the_newest_whole_ones_and_the_protected(tmp_path: Path) -> None:
    run = Run(tmp_path).train(6, save_at=(1, 2, 3, 4, 5, 6))
    (tmp_path / "checkpoint-6" / "config.json").unlink()
    removed = ck.prune(tmp_path, keep=2, protected={1})
    left = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    assert left == ["checkpoint-1", "checkpoint-4", "checkpoint-5", "checkpoint-6"]
    assert sorted(path.name for path in removed) == ["checkpoint-2", "checkpoint-3"]
    assert run.step == 6


def test_pruning_without_anything_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ck.prune(tmp_path, keep=0)


@pytest.mark.parametrize("call", ["fsync", "rename"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_refuses_leaves_the_older_checkpoint_and_no_litter(
    saved: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    run = Run(saved).resume().train(5)

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    if call == "fsync":
        monkeypatch.setattr(durable.os, "fsync", refuse)
    else:
        monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(RunFolderError, match=r"checkpoint-5 was not saved.*bytes are needed.*free"):
        run.save()
    monkeypatch.undo()
    assert sorted(path.name for path in saved.glob("*checkpoint*")) == ["checkpoint-2", "checkpoint-4"]
    run.save()
    found = ck.newest(saved, identity=IDENTITY)
    assert found is not None
    assert found.step == 5


def test_a_state_that_json_cannot_hold_is_refused_before_anything_appears(tmp_path: Path) -> None:
    run = Run(tmp_path).train(1)
    with pytest.raises(ValueError, match="JSON"):
        ck.write(
            tmp_path, step=1, model=run.model, tokenizer=tokenizer(), optimizer=run.optimizer, trainable=run.names,
            state={"best": float("nan")}, logs=[], save_dtype=torch.bfloat16, identity=IDENTITY,
        )  # fmt: skip
    assert list(tmp_path.glob("*checkpoint*")) == []
