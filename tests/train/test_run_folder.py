"""One writer, logs that are cut back, litter that is swept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.errors import CheckpointError, RunFolderError
from holdfast.train.run_folder import cut_logs, lock, pin_logs, remove_litter, run_logs

HOLD = """
import sys, time
from pathlib import Path
from holdfast.train.run_folder import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    with lock(tmp_path), pytest.raises(RunFolderError, match=f"in use by another run .pid {os.getpid()} on"):
        lock(tmp_path).__enter__()
    with lock(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RunFolderError, match=f"pid {holder.pid}"):
        lock(tmp_path).__enter__()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    with lock(tmp_path):
        pass


def test_a_run_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunFolderError, match="cannot be written"):
        lock(tmp_path / "run").__enter__()


def test_logs_are_cut_back_to_their_pins_and_younger_ones_removed(tmp_path: Path) -> None:
    (tmp_path / "samples" / "id").mkdir(parents=True)
    metrics, early, late = (tmp_path / name for name in ("metrics.jsonl", "samples/id/4.jsonl", "samples/id/8.jsonl"))
    metrics.write_text("one\n")
    early.write_text("four\n")
    pins = json.loads(json.dumps(pin_logs(tmp_path, run_logs(tmp_path))))
    with metrics.open("a") as stream:
        stream.write("two\n")
    late.write_text("eight\n")
    (tmp_path / "report.html").write_text("kept")
    cut_logs(tmp_path, pins)
    cut_logs(tmp_path, pins)
    assert (metrics.read_text(), early.read_text()) == ("one\n", "four\n")
    assert not late.exists()
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("now", ["on", "onX\nand more"])
def test_a_log_whose_older_part_changed_is_refused_and_nothing_is_cut(tmp_path: Path, now: str) -> None:
    (tmp_path / "metrics.jsonl").write_text("one\n")
    (tmp_path / "records.jsonl").write_text("r\n")
    pins = pin_logs(tmp_path, run_logs(tmp_path))
    (tmp_path / "metrics.jsonl").write_text(now)
    (tmp_path / "records.jsonl").write_text("r\nmore\n")
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl"):
        cut_logs(tmp_path, pins)
    assert (tmp_path / "records.jsonl").read_text() == "r\nmore\n"


def test_a_pin_that_climbs_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a path below"):
        cut_logs(tmp_path, {"../other.jsonl": {"size": 0, "sha256": ""}})


def test_litter_of_dead_processes_is_swept_and_that_of_living_ones_stays(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    living = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        names = [f".tmp-checkpoint-8-{dead.pid}", f".old-checkpoint-4-{dead.pid}", f".tmp-checkpoint-9-{os.getpid()}"]
        for name in (*names, f".tmp-checkpoint-8-{living.pid}", ".git", "checkpoint-4"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "file").write_text("x")
        removed = remove_litter(tmp_path)
        assert sorted(path.name for path in removed) == sorted(names)
        left = sorted(path.name for path in tmp_path.iterdir())
        assert left == sorted([".git", f".tmp-checkpoint-8-{living.pid}", "checkpoint-4"])
    finally:
        living.kill()
        living.wait()
