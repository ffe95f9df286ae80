"""A diagnosis of whole models: what is read, what is 0, what is refused, and what the verb leaves."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import tiny_base
import tiny_pair
from holdfast.cli import app
from holdfast.diagnose.spectral import Asked, Tuned, checkpoints_of, diagnose
from holdfast.errors import ModelError, UserError
from holdfast.records import Estimate, Record
from holdfast.report import spectral_tables
from holdfast.report.spectral_figures import kinds_of
from holdfast.spectral.cache import FactorCache


def found(folders, *more, **asked):
    tuned = [Tuned(str(place), str(place)) for place in (folders.tuned, *more)]
    return diagnose(str(folders.base), tuned, Asked(**asked), cache=FactorCache(None), said=lambda _: None)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny_pair.write(tmp_path_factory.mktemp("llama"), dtype=torch.bfloat16, unmoved=("layers.0",))


def test_every_matrix_is_read_as_numpy_reads_it_from_the_files(llama):
    told = found(llama).last
    before, after = (load_file(folder / "model.safetensors") for folder in llama)
    assert {one.name for one in told.matrices} == {name for name, tensor in before.items() if tensor.ndim == 2}
    for one in told.matrices:
        w, v = (side[one.name].double().numpy() for side in (before, after))
        assert one.norm == pytest.approx(np.linalg.norm(v - w), rel=1e-6)
        assert one.base_norm == pytest.approx(np.linalg.norm(w), rel=1e-9)
        s, t = (np.linalg.svd(m, compute_uv=False) for m in (w, v))
        assert one.values.normalized == pytest.approx(np.linalg.norm(t - s) / np.linalg.norm(s), abs=1e-9)
        assert one.unchanged.bits == pytest.approx((w == v).mean())
    energy = sum(float(((after[name].double() - before[name].double()) ** 2).sum()) for name in before)
    assert told.energy == pytest.approx(energy, rel=1e-6)
    assert told.tensors == len(before)
    assert told.identical == sum(torch.equal(before[name], after[name]) for name in before)


def test_unmoved_tensors_are_exactly_zero_and_stay_out_of_medians(llama):
    told = found(llama).last
    still = [one for one in told.matrices if ".layers.0." in one.name]
    assert still
    for one in still:
        assert (one.road, one.relative, one.top.left.largest, one.values.normalized) == ("identical", 0, 0, 0)
    assert not any(one in told.moved for one in still)
    table = spectral_tables.by_layer(told)
    assert table.rows[0][:4] == ("0", "7", "0", "–")
    assert table.rows[1][:3] == ("1", "7", "7")
    assert {one.role for one in told.matrices if not one.in_block} == {"embedding", "head"}


def test_checkpoints_share_the_factors_of_their_base(llama, tmp_path):
    cache = FactorCache(tmp_path)
    tuned = [Tuned(str(n), str(llama.tuned), n) for n in (1, 2)]
    told = diagnose(str(llama.base), tuned, Asked(), cache=cache, said=lambda _: None)
    moved = sum(one.norm > 0 for one in told.last.matrices)
    assert (cache.made, cache.found) == (moved, 0)
    assert told.checkpoints[0].matrices == told.checkpoints[1].matrices
    assert told.checkpoints[0].sha256 == told.checkpoints[1].sha256 != told.base_sha256
    diagnose(str(llama.base), tuned, Asked(), cache=cache, said=lambda _: None)
    assert (cache.made, cache.found) == (moved, moved)


def test_the_base_beside_itself_has_not_moved(llama):
    told = diagnose(
        str(llama.base),
        [Tuned("copy", str(llama.base))],
        Asked(bands=True),
        cache=FactorCache(None),
        said=lambda _: None,
    )
    assert all(one.road == "identical" for one in told.last.matrices)
    assert told.last.sha256 == told.base_sha256
    assert spectral_tables.warnings(told) == [
        f"copy: all {told.last.tensors} tensors are bit-identical to the base. Nothing moved."
    ]
    assert spectral_tables.most_moved(told.last).rows == ()


def test_experts_are_told_one_by_one_and_transposed_layers_by_their_outputs(tmp_path):
    experts = found(tiny_pair.write(tmp_path / "moe", "mixtral")).last
    kinds = dict(kinds_of(experts))
    assert sum(one.role == "mlp" for one in experts.matrices) == 3 * 4 * 3  # blocks, experts, matrices
    assert all(len(names) == 12 for label, names in kinds.items() if label in ("w1", "w2", "w3"))
    gpt2 = found(tiny_pair.write(tmp_path / "gpt2", "gpt2")).last
    fused = next(one for one in gpt2.matrices if "c_attn.weight" in one.name)
    assert (fused.rows, fused.columns) == (48, 16)
    assert {"attn.c_proj", "mlp.c_proj"} <= dict(kinds_of(gpt2)).keys()


def test_tied_tensors_are_told_once(tmp_path):
    folders = tiny_pair.write(tmp_path, "qwen2")
    told = found(folders)
    assert sum(one.role == "embedding" for one in told.last.matrices) == 1
    assert not any(one.role == "head" for one in told.last.matrices)


def test_a_model_that_holds_nan_is_refused_by_the_tensors_name(llama, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(llama.tuned, bad)
    tensors = load_file(bad / "model.safetensors")
    name = "model.layers.2.mlp.up_proj.weight"
    tensors[name][0, 0] = torch.nan
    save_file(tensors, bad / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"NaN|up_proj"):
        found(llama._replace(tuned=bad))


def test_too_many_directions_and_rounding_are_warned_of(llama):
    told = found(llama, k=14)
    (warning,) = [line for line in spectral_tables.warnings(told) if "by force" in line]
    assert "of 14" in warning
    with pytest.raises(UserError, match="neither a model"):
        checkpoints_of(str(llama.base.parent))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with two checkpoints and the success of its moments."""
    folder = tmp_path_factory.mktemp("run")
    base = tiny_base.write(folder / "base")
    for step in (2, 10):
        place = tiny_base.write(folder / "run" / f"checkpoint-{step}")
        tensors = load_file(place / "model.safetensors")
        draw = torch.Generator().manual_seed(0)
        for name, tensor in sorted(tensors.items()):
            tensors[name] = (tensor.float() + 5e-4 * step * torch.randn(tensor.shape, generator=draw)).bfloat16()
        save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
    suite = {"environment": "general_points", "rule": "faces_as_10", "purpose": "id", "split": "train", "size": 6}
    recipe = {
        "model_name_or_path": str(base),
        "data": {"environment": "general_points", "rule": "faces_as_10", "size": 8},
        "suites": {"seen": suite, "far": suite | {"rule": "faces_as_11_12_13", "purpose": "ood"}},
        "budget": {"steps": 10},
        "learning_rate": 1e-3,
    }
    (folder / "run" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    rate = Estimate(0.5, 0.2, 0.8, 6, 6, "wilson")
    records = [
        Record(step, {"steps": step}, {"eval_seen_success": 0.5, "eval_far_success": 0.5},
               {"eval_seen_success": rate, "eval_far_success": rate})
        for step in (0, 2, 10)
    ]  # fmt: skip
    (folder / "run" / "records.jsonl").write_text("\n".join(json.dumps(one.to_json()) for one in records) + "\n")
    return folder


def test_the_verb_reads_a_run_and_leaves_a_page_and_numbers(run, tmp_path):
    words = ["diagnose", str(run / "base"), str(run / "run"), "--bands", "--against", str(run / "run" / "checkpoint-2")]
    words += ["--hidden", str(run / "run" / "recipe.yaml"), "--cache", str(tmp_path / "factors")]
    done = CliRunner().invoke(app, [*words, "--output", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    for word in ("step 10", "attention", "most moved", "undone by B", "50.0 % [20.0, 80.0]", "after block", "page:"):
        assert word in done.output
    told = json.loads((tmp_path / "out" / "spectral.json").read_text())
    assert [one["step"] for one in told["checkpoints"]] == [2, 10]
    first, last = told["checkpoints"]
    assert first["median_relative"] < last["median_relative"]
    assert {one["against"]["undone"] for one in first["matrices"]} == {0.0}
    assert all(0.5 < one["against"]["undone"] < 1 for one in last["matrices"])
    assert len(told["success"]) == 6
    assert {one["suite"] for one in told["hidden"]} == {"seen", "far"}
    page = (tmp_path / "out" / "spectral.html").read_text()
    assert "What this does not show" in page
    drawn = {path.stem for path in (tmp_path / "out" / "spectral-figures").iterdir()}
    assert drawn == {"maps", "bands", "trajectory", "hidden"}


def test_a_diagnosis_that_cannot_be_understood_is_refused_in_words(run):
    base, tuned = str(run / "base"), str(run / "run")
    assert "at least one model" in _refused(["diagnose", base])
    assert "no flag --band" in _refused(["diagnose", base, tuned, "--band"])
    assert "a share in (0, 1]" in _refused(["diagnose", base, tuned, "--k", "1.5"])


def _refused(words: list[str]) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code != 0
    return str(done.exception)
