"""Every verb as a user types it: what it prints, what it leaves, how it refuses."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

import tiny_base
from holdfast.cli import main
from holdfast.recipe import read


class Said(NamedTuple):
    """Exit code, stdout and stderr of a command."""

    code: int
    out: str
    err: str


Verb = Callable[..., Said]

RECIPE = {
    "model_name_or_path": "base",
    "trainable": "attention",
    "data": {
        "environment": "general_points", "rule": "faces_as_10", "prompt_style": "terse",
        "answer_format": "values_formula", "size": 64,
    },
    "suites": {
        name: {
            "environment": "general_points", "rule": rule, "purpose": name, "size": 6,
            "decoding": {"max_new_tokens": 4},
        }
        for name, rule in {"id": "faces_as_10", "ood": "faces_as_5_7_9"}.items()
    },
    "budget": {"steps": 4},
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny base, a recipe and a run of it."""
    folder = tmp_path_factory.mktemp("place")
    tiny_base.write(folder / "base")
    (folder / "r.yaml").write_text(yaml.safe_dump(RECIPE))
    return folder


@pytest.fixture(autouse=True)
def _inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


@pytest.fixture
def holdfast(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Verb:
    """Call the command line in this process."""

    def call(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["holdfast", *words])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return call


def run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "holdfast.cli", *words]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_help_and_faults_answer_without_loading_torch() -> None:
    Path("bad.yaml").write_text("model_name_or_pth: base\n")
    for words in (["--help"], ["train", "--help"], ["train", "bad.yaml"]):
        code = f"""
import sys
sys.argv = ['holdfast', *{words!r}]
from holdfast.cli import main
try:
    main()
except SystemExit:
    pass
heavy = [name for name in ('torch', 'transformers', 'scipy', 'matplotlib') if name in sys.modules]
sys.exit(', '.join(heavy) or 0)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stderr)


def test_training_shows_plan_row_progress_results_and_places(holdfast: Verb) -> None:
    said = holdfast("train", "r.yaml", "--learning-rate", "3e-4", "seed=1", "--output_dir", "out")
    assert said.code == 0, said.err
    for words in (
        "attention learns, 2,048 of", "never seen", "⟦", "step 0/4", "step 4/4  loss", "verdict",
        "report: out/report.html", "checkpoint: out/checkpoint-4",
    ):  # fmt: skip
        assert words in said.out
    assert (read("out/recipe.yaml")["learning_rate"], read("out/recipe.yaml")["seed"]) == (3e-4, 1)
    again = holdfast("train", "r.yaml", "--learning-rate", "3e-4", "seed=1", "--output_dir", "out")
    assert "finished already" in again.out
    other = holdfast("train", "r.yaml", "--output_dir", "out")
    assert (other.code, "another recipe" in other.err) == (2, True)


def test_a_dry_run_prints_a_recipe_that_means_the_same(holdfast: Verb) -> None:
    said = holdfast("train", "--config", "r.yaml", "--budget.steps", "9", "--dry_run")
    values = yaml.safe_load(said.out)
    assert values["budget"]["steps"] == 9
    assert values["adam_beta1"] == 0.9
    Path("resolved.yaml").write_text(said.out)
    assert holdfast("train", "resolved.yaml", "--dry_run").out == said.out


def test_evaluation_scores_a_checkpoint_and_compares_it_with_its_base(holdfast: Verb) -> None:
    holdfast("train", "r.yaml", "--output_dir", "scored")
    said = holdfast("eval", "scored/checkpoint-4", "--compare", "base", "--output", "ev")
    assert said.code == 0, said.err
    assert re.search(r"^ood +ood +0\.0 % +\[0\.0, \d", said.out, flags=re.MULTILINE)
    assert "only A right" in said.out
    row = json.loads(Path("ev/records.jsonl").read_text())
    assert row["step"] == 4
    assert row["estimates"]["eval_ood_success"]["n"] == 6
    assert len(Path("ev/samples/ood/4.jsonl").read_text().splitlines()) == 6
    trained = json.loads(Path("scored/records.jsonl").read_text().splitlines()[-1])
    assert row["estimates"] == trained["estimates"]
    # What only a run can know of itself, its distance from the base, an evaluation does not record.
    assert set(trained["readings"]) - set(row["readings"]) == {"update_norm", "update_norm_trained"}


def test_a_plan_prints_figures_and_json(holdfast: Verb) -> None:
    assert "measured at steps 0, 4" in holdfast("plan", "r.yaml").out
    assert json.loads(holdfast("plan", "r.yaml", "--json").out)["steps"] == 4


def test_a_plan_that_measures_says_what_the_base_expects(holdfast: Verb) -> None:
    said = holdfast("plan", "r.yaml", "--measure").out
    assert "the base gives its target tokens 0.1 % on average" in said
    assert "plain nll (alpha 0) won in such domains" in said
    prior = json.loads(holdfast("plan", "r.yaml", "--measure", "--json").out)["prior"]
    assert prior["rows"] == 64
    assert 0 < prior["mean"][1] < prior["mean"][0] < prior["mean"][2] < 0.01


@pytest.mark.slow
def test_a_study_runs_its_arms_and_shares_them(holdfast: Verb) -> None:
    Path("s.yaml").write_text(yaml.safe_dump({"base": "r.yaml", "axes": {"trainable": ["attention", "mlp"]}}))
    listed = holdfast("study", "s.yaml", "--dry_run")
    assert "2 runs: 2 arms, seeds 0" in listed.out
    assert not Path("runs").exists()
    said = run(["study", "s.yaml", "--output", "st", "--jobs", "1"])
    assert said.returncode == 0, said.stderr
    assert "[mlp seed 0] finished" in said.stdout
    assert "report: st/report.html" in said.stdout
    assert len(list(Path("runs/.base").iterdir())) > 0
    again = run(["study", "s.yaml", "--output", "other"])
    assert "[attention seed 0] finished before (1 of 2)" in again.stdout
    assert "report: written.html" in holdfast("report", "st", "--output", "written.html").out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "recipe.yaml"], "there is no such file"),
        (["train", "r.yaml", "--learning_rat", "1"], 'Did you mean "learning_rate"?'),
        (["train", "r.yaml", "--model_name_or_path", "bse"], "no model 'bse'"),
        (["train", "r.yaml", "--model_name_or_path", "no-one/nothing"], "hub cannot be reached"),
        (["train", "r.yaml", "--output_dir", "/proc/nothing"], "cannot be written"),
        (["train", "r.yaml", "--dry_rn"], "Did you mean --dry_run?"),
        (["trian", "r.yaml"], "No such command"),
        (["study", "s.yml"], "there is no such file"),
        (["study", "r.yaml"], "no such key"),
        (["report", "base"], "holds no run"),
        (["eval", "base"], "needs one recipe"),
        (["pretrain", "none.yaml", "--output", "x"], "there is no such file"),
        (["init", "r.yaml"], "is left as it is"),
        (["init", "new.yaml", "--data", "none.jsonl"], "no such file: none.jsonl"),
    ],
)
def test_a_mistake_is_told_in_words_with_exit_code_2(
    holdfast: Verb, words: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = holdfast(*words)
    assert said.code == 2
    assert expected in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("flags", [[], ["--trainable", "mlp", "--objective", "dft", "--steps", "7"]])
def test_what_init_writes_can_be_planned(holdfast: Verb, flags: list[str]) -> None:
    name = f"starter{len(flags)}.yaml"
    said = holdfast("init", name, "--model", "base", *flags)
    assert said.code == 0, said.err
    assert "<" not in Path(name).read_text()
    assert holdfast("train", name, "--dry_run").code == 0
    again = holdfast("init", name)
    assert (again.code, "is left as it is" in again.err) == (2, True)


def test_init_takes_rows_of_ones_own(holdfast: Verb) -> None:
    Path("my rows.jsonl").write_text('{"prompt": "1 + 1", "completion": "2"}\n')
    assert holdfast("init", "own.yaml", "--model", "base", "--data", "my rows.jsonl").code == 0
    assert read("own.yaml")["data"] == {"path": "my rows.jsonl"}


def test_env_tells_versions_and_no_variables(holdfast: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    said = holdfast("env")
    assert re.search(r"^torch +\d", said.out, flags=re.MULTILINE)
    assert "bfloat16" in said.out
    assert "hf_secret" not in said.out


@pytest.mark.parametrize("verb", ["init", "plan", "train", "eval", "study", "report", "pretrain", "env"])
def test_every_verb_explains_itself(holdfast: Verb, verb: str) -> None:
    assert "Usage" in holdfast(verb, "--help").out


@pytest.mark.slow
def test_an_interrupted_run_says_so_exits_with_130_and_goes_on() -> None:
    words = [
        "train",
        "r.yaml",
        "--output_dir",
        "broken-off",
        "--budget.steps",
        "3000",
        "--evaluate_at",
        "{every: 5000}",
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "holdfast.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not Path("broken-off/metrics.jsonl").exists() and process.poll() is None:
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130, err
    stopped = int(re.search(r"interrupted at step (\d+)", err)[1])
    assert 0 < stopped < 3000
    again = re.search(r"To go on: (.+)", err)[1]
    assert shlex.split(again) == ["holdfast", *words]  # can be pasted into a shell
    assert Path(f"broken-off/checkpoint-{stopped}/model.safetensors").is_file()
