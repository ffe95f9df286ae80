"""The probabilities of a profile are those of the model's own forward pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from typer.testing import CliRunner

import tiny_base
from holdfast.cli import app
from holdfast.diagnose.tokens import profile
from holdfast.errors import DataError
from holdfast.plan import check


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two models with one tokenizer, and rows."""
    folder = tmp_path_factory.mktemp("tokens")
    base = tiny_base.write(folder / "base")
    tuned = tiny_base.write(folder / "tuned")
    model = transformers.AutoModelForCausalLM.from_pretrained(tuned)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.2)
    model.save_pretrained(tuned)
    rows = folder / "rows.jsonl"
    rows.write_text(
        "\n".join(json.dumps({"prompt": "numbers " * (1 + n % 3), "completion": "cards " * 3}) for n in range(9))
    )
    return {"base": base, "tuned": tuned, "rows": rows}


def recipe(folders: dict[str, Path]):
    return check(
        {
            "model_name_or_path": str(folders["base"]),
            "data": {"path": str(folders["rows"])},
            "budget": {"steps": 1},
            "learning_rate": 1e-3,
            "per_device_train_batch_size": 4,
        },
        source="test",
    )


def test_probabilities_are_those_of_the_models_own_forward_pass(folders: dict[str, Path]) -> None:
    names = [str(folders["base"]), str(folders["tuned"])]
    found = profile(recipe(folders), names, rows=9, said=lambda _: None)
    assert list(found.models) == names
    for name in names:
        model = transformers.AutoModelForCausalLM.from_pretrained(name)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
        at, expected = 0, []
        for row in range(9):
            own = [k for k, of in enumerate(found.targets.rows) if of == str(row)]
            said = [found.targets.texts[k] for k in own]
            assert "".join(said).count("cards") == 3
            at += len(own)
            chat = [{"role": "user", "content": json.loads(folders["rows"].read_text().splitlines()[row])["prompt"]}]
            prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
            answer = _ids(tokenizer, said)
            with torch.no_grad():
                logits = model(torch.tensor([[*prompt, *answer]])).logits[0].float().log_softmax(-1)
            places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
            expected += [float(logits[place, token].exp()) for place, token in zip(places, answer, strict=True)]
        assert found.models[name] == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert at == len(found.targets.texts)


def _ids(tokenizer, said: list[str]) -> list[int]:
    texts = {tokenizer.decode([token]): token for token in range(len(tokenizer))}
    return [texts[text] for text in said]


def test_another_vocabulary_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(DataError, match="another vocabulary"):
        profile(recipe(folders), [str(folders["base"]), "pocket-town"], rows=3, said=lambda _: None)


def test_the_verb_prints_both_ends_and_leaves_a_page_and_numbers(folders: dict[str, Path], tmp_path: Path) -> None:
    words = ["diagnose", "--tokens", str(tmp_path / "recipe.yaml"), str(folders["tuned"]), "--rows", "5"]
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe(folders).resolved()))
    done = CliRunner().invoke(app, [*words, "--output", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "target tokens of 5 rows" in done.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"tokens.html", "tokens-figures", "tokens.json"}
    told = json.loads((tmp_path / "out" / "tokens.json").read_text())
    assert told["rows"] == 5


def test_a_diagnosis_without_a_question_or_a_model_is_refused_in_words(folders: dict[str, Path]) -> None:
    assert "diagnose --tokens recipe.yaml" in _refused(["diagnose", "recipe.yaml", str(folders["tuned"])])
    assert "leave out --tokens" in _refused(["diagnose", "--tokens", "--bands", "recipe.yaml", str(folders["tuned"])])
    assert "at least one model" in _refused(["diagnose", "--tokens", "recipe.yaml"])


def _refused(words: list[str]) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code != 0
    return str(done.exception)
