"""A study as jobs: submitit's local executor with a worker of a few lines instead of training."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from holdfast.errors import RecipeError, UserError
from holdfast.study import Arm, Cluster, ClusterRunner, Machine, Outcome, Spread, Study, load
from holdfast.study.address import address
from holdfast.study.cluster import CarryOut, Task
from holdfast.study.processes import BYSTANDER, Group

WORKER = """
import json, os, pathlib, sys
recipe, folder = map(pathlib.Path, sys.argv[1:3])
folder.mkdir(parents=True, exist_ok=True)
rate = [line for line in recipe.read_text().splitlines() if line.startswith("learning_rate")][0].split()[1]
print("step 1/2 loss 1.0, rank", os.environ.get("RANK"), "of", os.environ.get("WORLD_SIZE"), flush=True)
if rate == "0.666":
    print("ValueError: it went wrong")
    sys.exit(1)
(folder / "result.json").write_text(json.dumps({"status": "finished"}))
"""


class Heard:
    """Keeps what a watch hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, arm: Arm, *, going_on: bool) -> None:
        self.lines.append(f"{arm.name} starts")

    def heard(self, arm: Arm, line: str) -> None:
        self.lines.append(f"{arm.name}: {line}")

    def ended(self, outcome: Outcome) -> None:
        self.lines.append(f"{outcome.arm.name} {outcome.status}")


def a_study(place: Path, **changes: object) -> Study:
    base = {
        "model_name_or_path": "some/model",
        "data": {"environment": "general_points", "rule": "faces_as_10"},
        "budget": {"steps": 3},
    }
    file = place / "study.yaml"
    file.write_text(yaml.safe_dump({"base": base, "axes": {"learning_rate": [0.1, 0.666]}, **changes}))
    return load(file)


def carry_out(place: Path, study: Study) -> tuple[list[Outcome], list[str]]:
    (place / "worker.py").write_text(WORKER)
    (place / "study").mkdir(exist_ok=True)
    watch = Heard()
    runner = ClusterRunner(
        study=study,
        folder=place / "study",
        runs=place / "runs",
        watch=watch,
        command=lambda recipe, folder: [sys.executable, str(place / "worker.py"), str(recipe), str(folder)],
        cluster=Cluster("local", {"timeout_min": 5}),
    )
    return runner.run(), watch.lines


@pytest.mark.slow
def test_unfinished_runs_become_jobs_and_finished_ones_are_skipped(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    study = a_study(tmp_path, processes_per_run=2)
    outcomes, lines = carry_out(tmp_path, study)
    assert [outcome.status for outcome in outcomes] == ["finished", "failed"]
    assert {"0.1 starts", "0.1: step 1/2 loss 1.0, rank 0 of 2", "0.1: step 1/2 loss 1.0, rank 1 of 2"} <= set(lines)
    assert "ValueError: it went wrong" in outcomes[1].words
    assert "(exit code 1)" in outcomes[1].words
    assert [row["status"] for row in json.loads((tmp_path / "study" / "runs.json").read_text())] == [
        "finished",
        "failed",
    ]
    (study.arms[1].folder(tmp_path / "runs") / "result.json").write_text('{"status": "stopped"}')
    again, lines = carry_out(tmp_path, study)
    assert [(outcome.status, outcome.skipped) for outcome in again] == [("finished", True), ("stopped", True)]
    assert not any("step" in line for line in lines)


def test_a_job_that_must_make_room_lets_its_run_save_and_comes_back(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    waits = "import signal, sys, time; signal.signal(signal.SIGINT, lambda *_: sys.exit(130)); print('on', flush=True)"
    words = (sys.executable, "-S", "-c", f"{waits}; time.sleep(60)")
    task = Task(words, str(tmp_path / "log"), str(tmp_path / "run"), Spread(2))
    carries_out, codes = CarryOut(), []
    job = threading.Thread(target=lambda: codes.append(carries_out(task)))
    job.start()
    while not (tmp_path / "log").exists() or (tmp_path / "log").read_text().count("on") < 2:
        time.sleep(0.05)
    again = carries_out.checkpoint(task)
    job.join()
    assert codes == [130]
    assert isinstance(again.function, CarryOut)
    assert again.args == (task,)


def test_unknown_clusters_and_options_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(UserError, match="no such cluster: 'slrum'"):
        Cluster("slrum")
    (tmp_path / "study").mkdir()
    runner = ClusterRunner(
        a_study(tmp_path), tmp_path / "study", tmp_path / "runs", Heard(), lambda *_: [], Cluster("local", {"cpu": 3})
    )
    with pytest.raises(UserError, match="local_cpu"):
        runner.run()


def test_the_processes_of_a_run_are_part_of_its_address(tmp_path: Path) -> None:
    alone, two, sharded = (
        a_study(tmp_path, **changes).arms[0].address
        for changes in ({}, {"processes_per_run": 2}, {"processes_per_run": 2, "sharded": True})
    )
    assert len({alone, two, sharded}) == 3
    assert alone == address(a_study(tmp_path).arms[0].recipe)
    with pytest.raises(RecipeError, match="needs several processes"):
        a_study(tmp_path, sharded=True)


def test_each_process_of_a_run_has_an_accelerator_of_its_own() -> None:
    server = Machine(cores=64, memory=10**12, accelerators=("0", "1", "4", "5", "7"))
    assert server.jobs("auto", runs=20, weight_bytes=10**9, processes=2) == 2
    given = [server.environment(slot, jobs=2, processes=2)["CUDA_VISIBLE_DEVICES"] for slot in (0, 1)]
    assert given == ["0,1", "4,5"]
    assert server.environment(0, jobs=2, processes=2)["OMP_NUM_THREADS"] == "16"
    with pytest.raises(UserError, match="5 accelerators are visible"):
        server.jobs("auto", runs=1, weight_bytes=1, processes=8)


@pytest.mark.parametrize(("codes", "code"), [((0, 0), 0), ((3, 2), 2), ((1, 3), 1), ((3, -9), -9)])
def test_a_run_ends_with_the_code_of_the_process_that_failed(tmp_path: Path, codes: tuple[int, int], code: int) -> None:
    assert BYSTANDER == 3
    ends = "code = {codes}[int(os.environ['RANK'])]; os.kill(os.getpid(), -code) if code < 0 else sys.exit(code)"
    words = [sys.executable, "-S", "-c", f"import os, sys; {ends.format(codes=codes)}"]
    with (tmp_path / "log").open("wb") as stream:
        assert Group(words, spread=Spread(2), output=stream, environment={}).wait(pause=0.01) == code
