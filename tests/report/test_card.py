"""The model card of a run folder."""

from __future__ import annotations

import re

import pytest
import yaml

from holdfast.errors import RunFolderError
from holdfast.report import load_runs, table, write_card


def test_the_card_tells_what_the_table_tells(make_run, tmp_path):
    folder = make_run(tmp_path / "run", size=40, during=20)
    (run,) = load_runs(folder)
    text = write_card(run).read_text(encoding="utf-8")
    assert (folder / "README.md").exists()
    front = yaml.safe_load(text.split("---")[1])
    assert front == {"library_name": "transformers", "tags": ["holdfast", "sft"]}
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    for line, row in zip(rows, table([run]).rows, strict=True):
        cells = [re.sub(r"\\(.)", r"\1", cell.strip()) for cell in line.strip("|").split(" | ")]
        assert cells == list(row[1:])
    assert "Every arm ran with one seed" in text


def test_a_hub_id_becomes_the_base_model_of_the_card(make_run, tmp_path):
    folder = make_run(tmp_path / "run", size=20, during=20)
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("model_name_or_path: pocket", "model_name_or_path: Qwen/Qwen2.5-0.5B"))
    (run,) = load_runs(folder)
    assert yaml.safe_load(write_card(run).read_text().split("---")[1])["base_model"] == "Qwen/Qwen2.5-0.5B"


def test_names_cannot_break_the_card(make_run, tmp_path):
    folder = make_run(tmp_path / "run", size=20, during=20)
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe |= {"run_name": "a | b\n# <script> \x00`x`", "objective": "`n`\nll"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (run,) = load_runs(folder)
    text = write_card(run).read_text(encoding="utf-8")
    assert "# a \\| b \\# \\<script\\> \\\\x00\\`x\\`" in text
    assert "`'n' ll`" in text


def test_an_unwritable_folder_is_named(make_run, tmp_path):
    folder = make_run(tmp_path / "run", size=20, during=20)
    (run,) = load_runs(folder)
    (folder / "README.md").mkdir()
    with pytest.raises(RunFolderError, match=r"cannot write .*README\.md"):
        write_card(run)
