"""What every probe obeys. Run over the members of the table on a tiny model, and in a tiny run."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections import Counter

import pytest
import torch

import probe_kit
from holdfast.members import build, find
from holdfast.models import rng
from holdfast.plan import check
from holdfast.probes import PROBES
from holdfast.probes.base import Probe
from holdfast.run import run
from holdfast.statistics import Estimate

MEMBERS = sorted(PROBES)


def probe_named(name) -> Probe:
    return build("probe", {"name": name, **probe_kit.OPTIONS.get(name, {})}, PROBES)


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return probe_kit.kit(tmp_path_factory.mktemp("kit"))


@pytest.fixture(autouse=True)
def _factors_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    probe_kit.without_page(monkeypatch)


def scenes(kit):
    """The first moment, and one after it with what the first left behind."""

    def measured(probe):
        first = kit.scene(0)
        told = [(first, probe.cost(first), probe.measure(first))]
        then = kit.scene(5, () if first.kept is None else (json.loads(json.dumps(first.kept)),))
        return [*told, (then, probe.cost(then), probe.measure(then))]

    return measured


@pytest.mark.parametrize("name", MEMBERS)
def test_a_probe_is_a_frozen_value_that_keeps_the_contract(name):
    probe = find("probe", name, PROBES)()
    assert isinstance(probe, Probe)
    assert dataclasses.is_dataclass(probe)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(probe, dataclasses.fields(probe)[0].name, None)


def test_no_two_probes_write_one_reading():
    counts = Counter(reading for name in MEMBERS for reading in probe_named(name).readings)
    assert [reading for reading, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("name", MEMBERS)
def test_a_probe_tells_exactly_its_readings_finite_or_unknown_and_the_same_again(kit, name):
    probe = probe_named(name)
    told, again = (scenes(kit)(probe) for _ in range(2))
    for (_, _, found), (_, _, other) in zip(told, again, strict=True):
        assert set(found) == set(probe.readings)
        values = [value.value if isinstance(value, Estimate) else value for value in found.values()]
        assert all(value is None or math.isfinite(value) for value in values)
        assert found == other
    assert any(value is not None for value in told[1][2].values())


@pytest.mark.parametrize("name", MEMBERS)
def test_what_is_spent_is_no_more_than_was_said_before(kit, name):
    for scene, said, _ in scenes(kit)(probe_named(name)):
        assert 0 < scene.flops <= said * (1 + 1e-9)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_probe_leaves_the_model_and_the_random_state_as_they_were(kit, name):
    model = kit.model
    torch.manual_seed(11)

    def state():
        weights = [(weight.data_ptr(), weight.clone(), weight.requires_grad) for weight in model.parameters()]
        return weights, [module.training for module in model.modules()], rng.capture()

    weights, modes, random = state()
    scenes(kit)(probe_named(name))
    after, modes_after, random_after = state()
    assert all(a[0] == b[0] and torch.equal(a[1], b[1]) and a[2] == b[2] for a, b in zip(weights, after, strict=True))
    assert all(weight.grad is None for weight in model.parameters())
    assert (modes, random) == (modes_after, random_after)


def test_options_are_checked_before_any_model_loads_without_torch():
    code = (
        "import sys; from holdfast.members import find; from holdfast.probes import PROBES; "
        "[find('probe', name, PROBES)() for name in PROBES]; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_training_with_every_probe_is_training_without_bit_for_bit(tmp_path):
    plain, probed = (
        run(check(probe_kit.recipe(tmp_path, probes=asked), source="test"), folder=tmp_path / str(len(asked)))
        for asked in ({}, {name: probe_kit.OPTIONS.get(name, {}) for name in MEMBERS})
    )
    metrics = [
        [json.loads(line) for line in (one.folder / "metrics.jsonl").read_text().splitlines()]
        for one in (plain, probed)
    ]
    for lines in metrics:
        for line in lines:
            line.pop("tokens_per_second")
    assert metrics[0] == metrics[1]
    assert plain.records[-1].spent == probed.records[-1].spent
    weights = [(one.folder / "checkpoint-3" / "model.safetensors").read_bytes() for one in (plain, probed)]
    assert weights[0] == weights[1]
    readings = {reading for name in MEMBERS for reading in probe_named(name).readings}
    assert all(readings <= set(record.readings) for record in probed.records)
    costs = json.loads((probed.folder / "result.json").read_text())["measuring"]["probes"]
    assert {name: paid["times"] for name, paid in costs.items()} == dict.fromkeys(MEMBERS, 4)
