"""The guide's example is a probe, a recipe may name it, and what the page on signals lists is what there is."""

from __future__ import annotations

import dataclasses
import re
import sys
import types
from pathlib import Path

import pytest
import torch
import yaml

import probe_kit
from holdfast.members import find
from holdfast.plan import check
from holdfast.probes import PROBES
from holdfast.probes.base import Probe
from holdfast.run import run
from holdfast.signals import SIGNALS
from holdfast.signals.ready import READY

DOCS = Path(__file__).parents[2] / "docs"
GUIDE, PAGE = DOCS / "add-a-probe.md", (DOCS / "signals.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def guide():
    """The example, run as a module of its own."""
    module = types.ModuleType("guide_of_probes")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(compile(block, str(GUIDE), "exec"), module.__dict__)
    yield module
    del sys.modules[module.__name__]


def test_the_example_keeps_the_contract_and_tells_the_probability_of_the_first_token(guide, tmp_path):
    kit = probe_kit.kit(tmp_path)
    probe, scene = guide.FirstToken(rows=3), kit.scene()
    assert isinstance(probe, Probe)
    told = probe.measure(scene)
    assert scene.flops == probe.cost(scene) > 0
    each = []
    for row in scene.held_out(3).encoded:
        with torch.no_grad():
            p = kit.model(torch.tensor([row.input_ids])).logits[0, row.n_prompt - 1].double().softmax(-1)
        each.append(float(p[row.input_ids[row.n_prompt]]))
    assert told == {"first_token_p": pytest.approx(sum(each) / 3, rel=1e-5)}


@pytest.mark.slow
def test_a_recipe_may_name_a_probe_of_somebody_elses_and_stop_by_it(guide, tmp_path, monkeypatch):
    probe_kit.without_page(monkeypatch)
    stop = {"signal": "reached", "reads": "first_token_p", "at": 0.0}
    values = probe_kit.recipe(tmp_path, probes={"guide_of_probes:FirstToken": {"rows": 2}}, stop=stop)
    result = run(check(values, source="test", allow_code=True), folder=tmp_path / "run", allow_code=True)
    assert (result.status, result.steps) == ("stopped", 0)
    assert 0 < result.records[0].readings["first_token_p"] < 1


def rows_of(heading):
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| ") and not line.startswith(("| name", "| signal", "| probe"))
    ]


def test_the_page_lists_every_ready_signal_as_the_code_has_it():
    written = {
        name: (yaml.safe_load(spec.strip("`")), probe.strip("`")) for name, spec, probe, _ in rows_of("Ready to use")
    }
    assert list(written) == list(READY)
    for name, ready in READY.items():
        assert written[name] == (dict(ready.spec), ready.probe), name
        assert all(one in PROBES for one in ready.probe.split(", ") if one), name


def test_the_page_lists_every_signal_and_every_probe_with_its_options():
    signals = {name.strip("`"): options for name, _, _, options in rows_of("Signals, one rule each")}
    assert set(signals) == set(SIGNALS)
    for name, options in signals.items():
        known = {field.name for field in dataclasses.fields(find("signal", name, SIGNALS)) if field.init}
        assert {part.split(" ")[0] for part in options.split(", ")} == known, name
    probes = {name.strip("`"): (readings, options) for name, readings, options, _, _ in rows_of("Probes")}
    assert set(probes) == set(PROBES)
    for name, (readings, options) in probes.items():
        member = find("probe", name, PROBES)
        known = {field.name: field.default for field in dataclasses.fields(member)}
        named = re.findall(r"`(\w+)`", readings)
        assert set(named) <= set(member.readings), name
        assert set(named) == set(member.readings) or readings.endswith("and more"), name
        for part in options.split(", "):
            if part != "…":
                key, value = part.split(" ")
                assert known[key] == yaml.safe_load(value), name
