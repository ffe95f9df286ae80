"""Rules of the house that no linter knows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "holdfast").rglob("*.py"))


def test_no_code_path_knows_the_embedded_bases() -> None:
    own = ROOT / "src" / "holdfast" / "models" / "pocket"
    knowing = [
        str(path.relative_to(ROOT)) for path in SOURCES if own not in path.parents and "pocket" in path.read_text()
    ]
    assert knowing == []


def test_no_code_runs_text_or_unpickles() -> None:
    forbidden = re.compile(
        r"\b(eval|exec)\(|\bimport (pickle|sympy)|torch\.load\(|\.save_state\(|trust_remote_code=True"
    )
    found = [f"{path.name}: {match[0]}" for path in SOURCES for match in forbidden.finditer(path.read_text())]
    # `model.eval()` is PyTorch's word for evaluation mode.
    assert [entry for entry in found if not entry.endswith("eval(")] == []
    assert not [path for path in SOURCES if re.search(r"(?<![.\w])eval\(", path.read_text())]


def test_importing_a_part_sets_no_environment_and_prints_nothing() -> None:
    for path in SOURCES:
        for line in path.read_text().splitlines():
            assert not re.match(
                r"(os\.environ\[|os\.environ\.setdefault|warnings\.filterwarnings|logging\.basicConfig|print\()", line
            ), path


@pytest.mark.parametrize("name", ["attention", "mlp", "full_small_rate"])
def test_the_quickstart_recipes_differ_from_full_in_one_key(name: str) -> None:
    full, other = (yaml.safe_load((ROOT / f"recipes/quickstart/{which}.yaml").read_text()) for which in ("full", name))
    assert len([key for key in full.keys() | other.keys() if full.get(key) != other.get(key)]) == 1


def test_the_package_holds_what_it_ships() -> None:
    tracked = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for needed in ("py.typed", "page.html.j2", "worked_math.jsonl"):
        assert needed in tracked
