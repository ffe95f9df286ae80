"""What single probes tell, by a second road: plain Transformers in float64, five lines of NumPy, planted rotations."""

from __future__ import annotations

import json
import math
import os
import signal
from types import SimpleNamespace

import pytest
import torch

import probe_kit
from holdfast.errors import DataError, RecipeError, UserError
from holdfast.evaluate.suite import half
from holdfast.members import build
from holdfast.plan import check, plan
from holdfast.probes import PROBES
from holdfast.probes.asked import suites_read
from holdfast.probes.base_text import BaseText
from holdfast.probes.entropy import Entropy
from holdfast.probes.gap import Gap
from holdfast.probes.gradient_disparity import GradientDisparity
from holdfast.probes.label_wave import LabelWave
from holdfast.probes.rotation import Rotation
from holdfast.probes.rows import evenly, held_out_rows, text_rows
from holdfast.probes.scene import Scene
from holdfast.probes.turned import angles
from holdfast.probes.validation import Validation
from holdfast.run import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kit")


@pytest.fixture(scope="module")
def kit(folder):
    return probe_kit.kit(folder)


@pytest.fixture(autouse=True)
def _factors_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    probe_kit.without_page(monkeypatch)


def logp_of(model, row):
    """Log-probabilities (T', V) at the places that predict what is learned, and the targets."""
    with torch.no_grad():
        whole = model(torch.tensor([row.input_ids])).logits[0].double().log_softmax(-1)
    start = max(row.n_prompt, 1)
    return whole[start - 1 : -1], torch.tensor(row.input_ids[start:])


def mean_nll(model, rows):
    told = [logp_of(model, row) for row in rows.encoded]
    each = [-logp[torch.arange(len(target)), target] for logp, target in told]
    return float(torch.cat(each).mean())


def test_nll_entropy_and_gap_are_means_over_target_tokens(kit):
    scene = kit.scene()
    held_out, learned = scene.held_out(8), scene.training(8)
    entropy = torch.cat([-(logp.exp() * logp).sum(-1) for logp, _ in (logp_of(kit.model, r) for r in held_out.encoded)])
    assert Validation(8).measure(scene)["validation_nll"] == pytest.approx(mean_nll(kit.model, held_out), rel=1e-5)
    assert Entropy(8).measure(scene)["prediction_entropy"] == pytest.approx(float(entropy.mean()), rel=1e-5)
    told = Gap(8).measure(scene)
    assert told["train_nll"] == pytest.approx(mean_nll(kit.model, learned), rel=1e-5)
    assert told["nll_gap"] == pytest.approx(mean_nll(kit.model, held_out) - told["train_nll"], abs=1e-5)


def test_probes_of_the_same_rows_share_one_pass(kit):
    scene = kit.scene()
    Validation(8).measure(scene)
    first = scene.flops
    Entropy(8).measure(scene)
    assert scene.flops == first == scene.pass_flops(scene.held_out(8))


def test_gradient_disparity_is_the_distance_of_plain_gradients(kit):
    told = GradientDisparity(rows=6, parts=2).measure(kit.scene())
    rows = kit.scene().training(6).encoded
    gradients = []
    for part in (rows[0::2], rows[1::2]):
        kit.model.zero_grad()
        nll, tokens = 0.0, 0
        for row in part:
            logits = kit.model(torch.tensor([row.input_ids])).logits[0, row.n_prompt - 1 : -1]
            nll = nll + torch.nn.functional.cross_entropy(
                logits.float(), torch.tensor(row.input_ids[row.n_prompt :]), reduction="sum"
            )
            tokens += row.n_learned
        (nll / tokens).backward()
        gradients.append(torch.cat([w.grad.double().flatten() for w in kit.model.parameters() if w.grad is not None]))
        kit.model.zero_grad(set_to_none=True)
    one, two = gradients
    assert told["gradient_disparity"] == pytest.approx(float((one - two).norm()), rel=1e-3)
    assert told["gradient_cosine"] == pytest.approx(float(one @ two / one.norm() / two.norm()), rel=1e-3)
    both = math.sqrt(float(one @ one + two @ two))
    assert told["gradient_disparity_relative"] == pytest.approx(float((one - two).norm()) / both, rel=1e-3)


def test_flips_are_the_share_of_target_tokens_whose_likeliest_token_is_another(kit):
    rows = kit.scene().training(6).encoded
    now = [int(token) for row in rows for token in logp_of(kit.model, row)[0].argmax(-1)]
    before = [token if number % 4 else token + 1 for number, token in enumerate(now)]
    scene = kit.scene(past=(before,))
    assert LabelWave(6).measure(scene)["prediction_flips"] == pytest.approx(len(now[::4]) / len(now))
    assert scene.kept == now
    assert LabelWave(6).measure(kit.scene())["prediction_flips"] is None


@pytest.mark.parametrize("degrees", [0.01, 5.0, 40.0])
def test_a_planted_rotation_of_the_leading_directions_is_found(degrees):
    generator = torch.Generator().manual_seed(3)
    left, _ = torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(9, 9, generator=generator, dtype=torch.float64))
    values = torch.linspace(3, 1, 9, dtype=torch.float64)
    turn = math.radians(degrees)
    turned = left.clone()
    # The first two leading directions turn into two that are in nobody's span; the third stays.
    for inside, outside in ((0, 10), (1, 11)):
        turned[:, inside] = math.cos(turn) * left[:, inside] + math.sin(turn) * left[:, outside]
    base, now = (side[:, :9] @ values.diag() @ right.T for side in (left, turned))
    weights = SimpleNamespace(get_parameter=lambda _: torch.nn.Parameter(now))
    stage = SimpleNamespace(base_weight=lambda _: base, once=lambda _, make: make())
    told = angles(Scene(weights, 1, stage), "w", 3)
    assert told.left == pytest.approx(degrees * math.sqrt(2 / 3), rel=1e-5)
    assert told.right == pytest.approx(0.0, abs=1e-5)


def test_the_base_has_not_rotated_and_embeddings_are_left_out(folder):
    still = probe_kit.kit(folder, moved=0.0)
    assert Rotation().measure(still.scene()) == {"rotation_left": 0.0, "rotation_right": 0.0}
    from holdfast.probes.turned import matrices

    assert all(".layers." in name for name in matrices(still.scene()))


def test_the_bases_own_answers_are_drawn_once_and_asked_about_from_then_on(kit):
    probe = BaseText(rows=4, longest=6)
    first = kit.scene(0)
    told = probe.measure(first)["base_text_nll"]
    assert len(first.kept) == 4
    prompts = [list(row.prompt_ids) for row in kit.scene().training(4).encoded]
    assert [ids[:n] for ids, n in first.kept] == prompts
    assert told > 0
    later = kit.scene(5, (first.kept,))
    assert probe.measure(later)["base_text_nll"] == pytest.approx(told, rel=1e-6)
    assert later.kept is None
    assert probe.cost(later) < probe.cost(kit.scene(0))


def test_held_out_rows_are_of_the_select_half_of_problems_that_are_not_learned(folder, kit):
    checked = check(probe_kit.recipe(folder), source="test")
    rows = held_out_rows(checked, kit.stage.speaker, 12, path=None, suite=None)
    assert len(rows.encoded) == len(rows.examples) == 12
    learned = {example.prompt[-1]["content"] for example in kit.scene().training(64).examples}
    assert not learned & {example.prompt[-1]["content"] for example in rows.examples}


def test_held_out_rows_of_a_file_and_of_a_suite_leave_the_report_half_alone(folder, kit, tmp_path):
    lines = [{"prompt": f"cards {n} 2 3 4 target 24", "completion": "24"} for n in range(1, 14)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    suites = {"own": {"path": str(tmp_path / "own.jsonl"), "purpose": "id", "size": 13}}
    checked = check(probe_kit.recipe(folder, suites=suites), source="test")
    by_path = held_out_rows(checked, kit.stage.speaker, 99, path=str(tmp_path / "own.jsonl"), suite=None)
    by_suite = held_out_rows(checked, kit.stage.speaker, 99, path=None, suite="own")
    from holdfast.evaluate.file_problems import RULE, FileProblems

    problems = FileProblems(str(tmp_path / "own.jsonl"))
    selected = [n for n in range(13) if half(problems.sample(RULE, "test", n, seed=0).key) == "select"]
    assert 0 < len(selected) < 13
    assert [example.prompt for example in by_path.examples] == [problems.rows[n].example.prompt for n in selected]
    assert by_path.examples[0].prompt == by_suite.examples[0].prompt
    with pytest.raises(UserError, match="no suite 'other'"):
        held_out_rows(checked, kit.stage.speaker, 4, path=None, suite="other")


def test_a_suite_that_a_signal_sees_through_a_probe_is_split_and_no_other(folder):
    cards = {"environment": "general_points", "rule": "faces_as_10", "purpose": "id", "size": 4}
    probes = {"validation": {"suite": "seen"}, "entropy": {"suite": "unseen"}}
    checked = check(probe_kit.recipe(folder, probes=probes, suites={"seen": cards, "unseen": cards}), source="test")
    assert suites_read(checked, ["validation_nll"]) == ("eval_seen_success",)
    assert suites_read(checked, ["update_norm"]) == ()


def test_general_texts_are_cut_and_evenly_spaced_and_an_empty_file_is_refused(kit, tmp_path):
    (tmp_path / "a.txt").write_text("cards 1 2 3 4 target 24\n\nface\n\ncards 5 6 7 8 target 24 and more\n\n")
    rows = text_rows(str(tmp_path / "a.txt"), kit.stage.speaker, 9, longest=5)
    assert [len(row.input_ids) <= 5 and row.n_prompt == 0 for row in rows.encoded] == [True] * len(rows.encoded)
    assert len(rows.encoded) >= 2
    told = BaseText(path=str(tmp_path / "a.txt"), longest=5).measure(kit.scene())["base_text_nll"]
    whole = kit.scene().texts(str(tmp_path / "a.txt"), 32, longest=5)
    assert told == pytest.approx(mean_nll(kit.model, whole), rel=1e-5)
    (tmp_path / "b.txt").write_text("\n\n")
    with pytest.raises(DataError, match="no text of two tokens"):
        text_rows(str(tmp_path / "b.txt"), kit.stage.speaker, 9, longest=5)


def test_evenly_spaced_places_begin_at_the_first_and_are_never_more_than_there_are():
    assert (evenly(10, 4), evenly(3, 9)) == ([0, 2, 5, 7], [0, 1, 2])


def faults(folder, **changes):
    with pytest.raises(RecipeError) as caught:
        check(probe_kit.recipe(folder, **changes), source="test")
    return {fault.where: f"{fault.problem}. {fault.fix}" for fault in caught.value.faults}


def test_faults_of_probes_are_named_with_what_to_write(folder, tmp_path):
    probes = {"entorpy": {}, "kl": {"row": 3}, "gap": {"suite": "odd"}, "validation": {"path": "none.jsonl"}}
    found = faults(folder, probes={**probes, "label_wave": {"rows": 0}}, kl_rows=4)
    assert 'Did you mean "entropy"?' in found["probes.entorpy"]
    assert 'Did you mean "rows"?' in found["probes.kl"]
    assert "no such suite: 'odd'" in found["probes.gap.suite"]
    assert "no such file: none.jsonl" in found["probes.validation.path"]
    assert "whole number" in found["probes.label_wave"]
    assert "same as probes.kl" in found["kl_rows"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n')
    found = faults(folder, data={"path": str(rows)}, probes=["validation", "label_wave"])
    assert set(found) == {"probes.validation"}
    assert "path: held_out.jsonl" in found["probes.validation"]


def test_a_signal_that_reads_a_probe_is_told_which_one_to_ask_for(folder):
    stop = {"signal": "rises", "reads": "gradient_disparity"}
    assert "probes: {gradient_disparity: {}}" in faults(folder, stop=stop)["stop.reads"]
    assert check(probe_kit.recipe(folder, stop=stop, probes=["gradient_disparity"]), source="test").stop == stop


def test_a_list_of_probes_means_their_defaults_and_asking_for_none_keeps_a_recipes_name(folder):
    plain = check(probe_kit.recipe(folder), source="test")
    named = check(probe_kit.recipe(folder, probes=["kl", "entropy"]), source="test")
    spelled = check(probe_kit.recipe(folder, probes={"entropy": None, "kl": {}}), source="test")
    assert named.hash() == spelled.hash() != plain.hash()
    assert not {"probes", "probe_budget", "kl_rows"} & set(plain.identity())
    assert check(probe_kit.recipe(folder, probe_budget=0.1), source="test").hash() != plain.hash()


class Heard:
    def __init__(self):
        self.lines = []

    def said(self, line):
        self.lines.append(line)

    def started(self, steps, *, at): ...

    def logged(self, metrics): ...

    def measured(self, record): ...


@pytest.mark.slow
def test_a_probe_that_would_cost_too_much_is_left_out_said_and_unknown(folder, tmp_path):
    asked = {"validation": {"rows": 2}, "gradient_disparity": {"rows": 8}}
    heard = Heard()
    checked = check(probe_kit.recipe(folder, probes=asked, probe_budget=1.2), source="test")
    result = run(checked, folder=tmp_path / "run", progress=heard)
    told = [record.readings["gradient_disparity"] for record in result.records]
    assert told[0] is not None
    assert told[-1] is None
    assert all(record.readings["validation_nll"] is not None for record in result.records)
    (line,) = (line for line in heard.lines if "left out" in line)
    assert line.startswith("probe gradient_disparity is left out from step")
    costs = json.loads((result.folder / "result.json").read_text())
    spent = sum(paid["flops"] for paid in costs["measuring"]["probes"].values())
    assert spent <= 1.2 * json.loads((result.folder / "plan.json").read_text())["total"]["flops"]
    assert costs["measuring"]["probes"]["gradient_disparity"]["times"] < len(told)


@pytest.mark.slow
def test_a_run_that_goes_on_remembers_what_its_probes_saw_and_spent(folder, tmp_path):
    class Interrupting(Heard):
        def logged(self, metrics):
            if metrics["step"] == 2:
                os.kill(os.getpid(), signal.SIGINT)

    asked = {"label_wave": {"rows": 4}, "base_text": {"rows": 2, "longest": 4}}
    checked = check(probe_kit.recipe(folder, probes=asked, probe_budget=9.0, budget={"steps": 4}), source="test")
    whole = run(checked, folder=tmp_path / "whole")
    broken = run(checked, folder=tmp_path / "broken", progress=Interrupting())
    assert (broken.status, broken.steps) == ("interrupted", 2)
    resumed = run(checked, folder=tmp_path / "broken")
    assert resumed.records == whole.records
    for name in ("records.jsonl", "probes/label_wave.jsonl", "probes/base_text.jsonl"):
        assert (resumed.folder / name).read_text() == (whole.folder / name).read_text()
    spent = [
        [{name: paid["flops"] for name, paid in json.loads(line)["probes"].items()} for line in text.splitlines()]
        for text in ((one.folder / "costs.jsonl").read_text() for one in (whole, resumed))
    ]
    assert spent[0] == spent[1]


@pytest.mark.slow
def test_adapters_are_probed_as_the_merged_model(folder, tmp_path):
    asked = {name: probe_kit.OPTIONS[name] for name in ("gradient_disparity", "rotation", "validation")}
    lora = {"r": 2, "alpha": 4.0}
    result = run(check(probe_kit.recipe(folder, lora=lora, probes=asked), source="test"), folder=tmp_path / "run")
    assert result.status == "finished"
    told = [record.readings["rotation_left"] for record in result.records]
    assert told[0] == 0.0
    assert told[-1] > 0.1
    assert all(record.readings["gradient_disparity"] > 0 for record in result.records)


def test_a_plan_tells_what_probes_will_cost_before_any_weight_is_read(folder, kit):
    asked = {name: probe_kit.OPTIONS[name] for name in ("kl", "gap", "gradient_disparity", "rotation", "base_text")}
    planned = plan(check(probe_kit.recipe(folder, probes=asked), source="test"))
    scene = kit.scene(0)
    for name, options in asked.items():
        there = float(build("probe", {"name": name, **options}, PROBES).cost(scene))
        assert planned.probes[name] == pytest.approx(there), name
    assert planned.probing == pytest.approx(sum(planned.probes.values()) * 4 / planned.total.flops)
    assert plan(check(probe_kit.recipe(folder), source="test")).probes == {}
