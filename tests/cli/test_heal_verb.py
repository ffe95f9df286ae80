"""``holdfast heal`` as a user types it: what it prints, what it leaves, how it refuses."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import transformers as hf

import tiny_pair
from holdfast.cli import main
from holdfast.models.tensors import TensorFolder
from tiny_pair import Folders

Verb = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return tiny_pair.write(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def heal(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], made: Folders, tmp_path: Path) -> Verb:
    """Call the verb on the pair in this process, with a cache of its own; return exit code, stdout and stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        command = ["holdfast", "heal", str(made.base), str(made.tuned), "--cache", str(tmp_path / "cache"), *words]
        monkeypatch.setattr(sys, "argv", command)
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return (code, *capfd.readouterr())

    return call


def test_heal_writes_a_model_that_loads_and_prints_what_it_undid(heal: Verb, tmp_path: Path) -> None:
    code, out, err = heal("--out", str(tmp_path / "out"), "--k", "4")
    assert (code, err) == (0, "")
    hf.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "heal.json").read_text())
    assert facts["healing"] == {"name": "union", "k": 4, "strength": 1.0}
    undone = facts["summary"]["undone"]
    assert f"Undone: {100 * undone:.1f} % of the update, in 21 of 30 tensors." in out
    assert f"{facts['summary']['artefact']:.3f} ‖D‖ of it at a right angle to D (artefact)" in out
    assert f"--healer interpolate --strength {undone:.4g}) edits {undone:.3f} ‖D‖, has no artefact" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert rows["attention"][1:3] == ["12", "12"]
    assert rows["norm"][1:3] == ["7", "0"]
    assert rows["all"][1:5] == ["30", "21", "100.0", "%"]
    assert rows["2"][1:3] == ["9", "7"]
    assert rows["outside"][1:3] == ["3", "0"]
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 21


def test_a_dry_run_prints_the_same_and_writes_nothing(heal: Verb, tmp_path: Path) -> None:
    words = ("--healer", "lines", "--set", "alpha=0.2", "--set", "beta=0.5", "--strength", "0.5")
    _, dry, _ = heal("--dry-run", *words)
    assert list(tmp_path.iterdir()) == []
    _, wet, _ = heal("--out", str(tmp_path / "out"), *words)
    assert dry.splitlines()[-1] == "dry run: nothing was written"
    assert wet.splitlines()[-1].startswith(f"checkpoint: {tmp_path / 'out'} (")
    assert [line for line in dry.splitlines()[:-1] if line] == [line for line in wet.splitlines()[:-1] if line]


def test_what_to_undo_and_where_may_be_said_in_words(heal: Verb, tmp_path: Path) -> None:
    code, out, _ = heal(
        "--dry-run", "--undo", "0.1", "--healer", "interpolate", "--on", "{layers: first:2, preset: full}"
    )
    assert code == 0
    assert "Undone: 10.0 % of the update, in 18 of 30 tensors." in out
    assert re.search(r"strength: 0\.\d+, to undo 0\.1", out)
    code, out, _ = heal("--dry-run", "--on", "attention", "--k", "1.0")
    assert re.search(r"attention +12 +12 +\d+\.\d % +100\.0 % +1\.000", out)
    assert re.search(r"mlp +9 +0 ", out)


@pytest.mark.parametrize(("form", "file"), [("delta", "delta.safetensors"), ("adapter", "adapter_model.safetensors")])
def test_a_delta_and_an_adapter_are_written_on_request(form: str, file: str, heal: Verb, tmp_path: Path) -> None:
    code, out, _ = heal("--out", str(tmp_path / "out"), "--k", "2", "--as", form, "--on", "attention")
    assert code == 0
    assert (tmp_path / "out" / file).is_file()
    assert out.splitlines()[-1].startswith(f"{form}: ")
    with pytest.raises(Exception, match="holds neither"):
        TensorFolder(tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs a place for the result, --out DIR, or --dry-run"),
        (["--dry-run", "--healer", "unoin"], "no such healer: 'unoin'. Did you mean \"union\"?"),
        (["--dry-run", "--healer", "interpolate", "--k", "3"], "no such option of healer interpolate: 'k'"),
        (["--dry-run", "--k", "1.5"], "healer union: k must be a share in (0, 1] or a whole number"),
        (["--dry-run", "--set", "alpha"], "is not of the form key=value"),
        (["--dry-run", "--undo", "0.1", "--strength", "0.5"], "give --strength or --undo, not both"),
        (["--dry-run", "--undo", "0.9"], "heal: undo: 0.9 is more than this healer undoes at strength 1"),
        (["--dry-run", "--on", "attenion"], "no such selection: 'attenion'. Did you mean \"attention\"?"),
        (["--out", "x", "--as", "lora"], "no such form (--as): 'lora'. Known: adapter, checkpoint, delta."),
    ],
)
def test_mistakes_are_one_clear_message(words: list[str], said: str, heal: Verb, tmp_path: Path) -> None:
    code, out, err = heal(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}
