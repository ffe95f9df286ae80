"""The runner with a worker of ten lines instead of training: skipping, going on, failing, interrupting, sharing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.study import Arm, Machine, Outcome, Runner, Study, load
from holdfast.train import run_folder

WORKER = """
import fcntl, json, os, pathlib, signal, sys, time
recipe, folder, marks = map(pathlib.Path, sys.argv[1:4])
folder.mkdir(parents=True, exist_ok=True)
lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
rate = [line for line in recipe.read_text().splitlines() if line.startswith("learning_rate")][0].split()[1]
with (marks / rate).open("a") as mark:
    mark.write(os.environ["OMP_NUM_THREADS"] + chr(10))
saved = []
signal.signal(signal.SIGINT, lambda *_: saved.append(1))
print("step 1/2 loss 1.0", flush=True)
if rate == "0.666":
    print("ValueError: it went wrong")
    sys.exit(1)
if rate == "0.99":
    os.kill(os.getpid(), signal.SIGKILL)
for _ in range(3000 if rate == "0.5" else 1):
    time.sleep(0.02)
    if saved:
        (folder / "checkpoint-1").mkdir(exist_ok=True)
        sys.exit(130)
(folder / "result.json").write_text(json.dumps({"status": "finished"}))
"""


class Heard:
    """Keeps what a watch hears."""

    def __init__(self, on_line: Callable[[], None] = lambda: None) -> None:
        self.begun: list[tuple[str, bool]] = []
        self.lines: list[str] = []
        self.outcomes: list[Outcome] = []
        self.on_line = on_line

    def started(self, arm: Arm, *, going_on: bool) -> None:
        self.begun.append((arm.name, going_on))

    def heard(self, arm: Arm, line: str) -> None:
        self.lines.append(f"{arm.name}: {line}")
        if line.startswith("step "):
            self.on_line()

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "marks").mkdir()
    return tmp_path


def a_study(place: Path, rates: Sequence[float], name: str = "study") -> Study:
    base = {
        "model_name_or_path": "some/model",
        "data": {"environment": "general_points", "rule": "faces_as_10"},
        "budget": {"steps": 3},
        "learning_rate": 1e-3,
    }
    file = place / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"base": base, "axes": {"learning_rate": list(rates)}, "notes": ["why"]}))
    return load(file)


def carry_out(place: Path, study: Study, *, jobs: int = 2, watch: Heard | None = None, name: str = "study") -> Any:
    watch = watch or Heard()
    runner = Runner(
        study=study,
        folder=place / name,
        runs=place / "runs",
        watch=watch,
        jobs=jobs,
        machine=Machine(cores=4, memory=10**10),
        command=lambda recipe, folder: [
            sys.executable, str(place / "worker.py"), str(recipe), str(folder), str(place / "marks")
        ],
    )  # fmt: skip
    return runner.run(), watch


def times_started(place: Path, rate: str) -> int:
    mark = place / "marks" / rate
    return len(mark.read_text().split()) if mark.exists() else 0


def test_all_runs_finish_and_runs_json_says_what_the_report_reads(place: Path) -> None:
    outcomes, watch = carry_out(place, a_study(place, [0.1, 0.2, 0.3]))
    assert [outcome.status for outcome in outcomes] == ["finished"] * 3
    assert "0.1: step 1/2 loss 1.0" in watch.lines
    rows = json.loads((place / "study" / "runs.json").read_text())
    assert [(row["name"], row["axes"], row["seed"], row["status"]) for row in rows] == [
        (str(rate), {"learning_rate": str(rate)}, 0, "finished") for rate in (0.1, 0.2, 0.3)
    ]
    assert all((place / "study" / row["folder"] / "result.json").is_file() for row in rows)
    assert yaml.safe_load((place / "study" / "study.yaml").read_text())["notes"] == ["why"]


def test_threads_are_shared_out_between_the_jobs(place: Path) -> None:
    carry_out(place, a_study(place, [0.1]), jobs=2)
    assert (place / "marks" / "0.1").read_text().split() == ["2"]


def test_a_broken_off_run_goes_on_with_the_threads_it_began_with(place: Path) -> None:
    study = a_study(place, [0.1])
    checkpoint = study.arms[0].folder(place / "runs") / "checkpoint-12"
    checkpoint.mkdir(parents=True)
    (checkpoint / "manifest.json").write_text(json.dumps({"identity": {"threads": "3"}}))
    (checkpoint.parent / "checkpoint-5").mkdir()
    _, watch = carry_out(place, study)
    assert watch.begun == [("0.1", True)]
    assert (place / "marks" / "0.1").read_text().split() == ["3"]


def test_a_finished_run_is_not_run_again_not_even_by_another_study(place: Path) -> None:
    carry_out(place, a_study(place, [0.1, 0.2]))
    outcomes, _ = carry_out(place, a_study(place, [0.2, 0.3], "other"), name="other")
    assert [(outcome.status, outcome.skipped) for outcome in outcomes] == [("finished", True), ("finished", False)]
    assert times_started(place, "0.2") == 1


def test_a_failed_run_is_told_with_its_last_lines_and_the_others_go_on(place: Path) -> None:
    outcomes, _ = carry_out(place, a_study(place, [0.666, 0.1]), jobs=1)
    assert [outcome.status for outcome in outcomes] == ["failed", "finished"]
    assert "ValueError: it went wrong" in outcomes[0].words
    assert "(exit code 1)" in outcomes[0].words
    again, _ = carry_out(place, a_study(place, [0.666, 0.1]), jobs=1)
    assert [outcome.status for outcome in again] == ["failed", "finished"]
    assert (times_started(place, "0.666"), times_started(place, "0.1")) == (2, 1)


def test_a_killed_run_is_told_by_its_signal(place: Path) -> None:
    outcomes, _ = carry_out(place, a_study(place, [0.99]))
    assert outcomes[0].status == "failed"
    assert "killed by SIGKILL" in outcomes[0].words


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_lets_runs_save_and_the_same_study_goes_on(place: Path, number: signal.Signals) -> None:
    study = a_study(place, [0.5, 0.1])
    outcomes, _ = carry_out(place, study, jobs=1, watch=Heard(lambda: os.kill(os.getpid(), number)))
    assert [outcome.status for outcome in outcomes] == ["interrupted", "waiting"]
    assert (study.arms[0].folder(place / "runs") / "checkpoint-1").is_dir()
    assert [row["status"] for row in json.loads((place / "study" / "runs.json").read_text())] == [
        "interrupted", "waiting"
    ]  # fmt: skip
    watch = Heard(lambda: os.kill(os.getpid(), signal.SIGINT))
    carry_out(place, study, jobs=1, watch=watch)
    assert watch.begun == [("0.5", True)]


def test_a_second_interrupt_kills_what_does_not_end(place: Path) -> None:
    (place / "worker.py").write_text(WORKER.replace("    if saved:", "    if False:"))
    study = a_study(place, [0.5])

    def twice() -> None:
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        os.kill(os.getpid(), signal.SIGINT)

    started = time.monotonic()
    outcomes, _ = carry_out(place, study, watch=Heard(twice))
    assert [outcome.status for outcome in outcomes] == ["interrupted"]
    assert time.monotonic() - started < 40  # the worker itself would take 60 seconds


def test_a_run_that_another_study_has_in_hand_is_waited_for_and_not_run_twice(place: Path) -> None:
    study = a_study(place, [0.1, 0.2])
    folder = study.arms[0].folder(place / "runs")
    folder.mkdir(parents=True)
    script = textwrap.dedent(f"""
        import pathlib, sys, time
        from holdfast.train.run_folder import lock
        folder = pathlib.Path({str(folder)!r})
        with lock(folder):
            print("locked", flush=True)
            time.sleep(1)
            (folder / "result.json").write_text('{{"status": "finished"}}')
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "locked"
        outcomes, watch = carry_out(place, study)
    assert [(outcome.status, outcome.skipped) for outcome in outcomes] == [("finished", True), ("finished", False)]
    assert watch.begun == [("0.2", False)]
    assert times_started(place, "0.1") == 0


def test_one_study_folder_has_one_runner(place: Path) -> None:
    study = a_study(place, [0.1])
    with run_folder.lock(place / "study"), pytest.raises(Exception, match="in use"):
        carry_out(place, study)


def test_seeds_of_one_address_are_run_once(place: Path) -> None:
    study = a_study(place, [0.1])
    doubled = Study(study.source, (*study.arms, *study.arms), values=study.values)
    outcomes, _ = carry_out(place, doubled)
    assert [outcome.status for outcome in outcomes] == ["finished", "finished"]
    assert times_started(place, "0.1") == 1


def test_jobs_are_bounded_by_cores_memory_runs_and_accelerators() -> None:
    laptop = Machine(cores=8, memory=16 * 10**9)
    assert laptop.jobs("auto", runs=20, weight_bytes=5 * 10**6) == 7
    assert laptop.jobs("auto", runs=3, weight_bytes=5 * 10**6) == 3
    assert laptop.jobs("auto", runs=20, weight_bytes=10**9) == 1
    assert laptop.jobs(5, runs=20, weight_bytes=10**9) == 5
    server = Machine(cores=64, memory=10**12, accelerators=("0", "1"))
    assert server.jobs("auto", runs=20, weight_bytes=10**9) == 2
    assert [server.environment(slot, jobs=2)["CUDA_VISIBLE_DEVICES"] for slot in (0, 1)] == ["0", "1"]


def a_chain(place: Path, first_rate: float = 0.1) -> Study:
    base = {
        "model_name_or_path": "some/model",
        "data": {"environment": "general_points", "rule": "faces_as_10"},
        "budget": {"steps": 4},
        "learning_rate": first_rate,
        "save_steps": 2,
    }
    axes = {"arm": {"second": {"starts_from": {"arm": "first", "step": 2}, "learning_rate": 0.2}, "first": {}}}
    file = place / "chain.yaml"
    file.write_text(yaml.safe_dump({"base": base, "axes": axes}, sort_keys=False))
    return load(file, runs=place / "runs")


def test_an_arm_that_starts_from_another_is_run_after_it(place: Path) -> None:
    study = a_chain(place)
    outcomes, watch = carry_out(place, study, jobs=2)
    assert [outcome.status for outcome in outcomes] == ["finished", "finished"]
    assert [name for name, _ in watch.begun] == ["first", "second"]
    written = yaml.safe_load((place / "study" / "recipes" / f"{study.arms[0].address}.yaml").read_text())
    assert written["model_name_or_path"] == str(study.arms[1].folder(place / "runs") / "checkpoint-2")


def test_an_arm_whose_start_failed_fails_with_it(place: Path) -> None:
    outcomes, watch = carry_out(place, a_chain(place, first_rate=0.666))
    assert [outcome.status for outcome in outcomes] == ["failed", "failed"]
    assert "an arm that it needs failed" in outcomes[0].words
    assert [name for name, _ in watch.begun] == ["first"]
