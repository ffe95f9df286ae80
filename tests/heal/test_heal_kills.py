"""A SIGKILL at any file event of a heal leaves both models as they were, and the result whole or absent."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_pair
from holdfast.heal.adapter import write_adapter
from holdfast.heal.delta import write_delta
from holdfast.heal.write import write_checkpoint
from holdfast.models import durable

WRITERS: dict[str, Callable[..., Any]] = {
    "checkpoint": write_checkpoint,
    "delta": write_delta,
    "adapter": write_adapter,
}
AUDITED = ("open", "os.rename", "os.mkdir", "shutil.copyfile")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads do not survive a fork."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def events(folder: Path, event: Callable[[str], None]) -> None:
    """Call ``event`` at each event of writing below ``folder``, in this process, for the rest of its life."""

    def audit(name: str, arguments: tuple[Any, ...]) -> None:
        if name in AUDITED and str(folder) in " ".join(map(str, arguments)):
            event(name)

    real = os.fsync

    def fsync(descriptor: int) -> None:
        event("before fsync")
        real(descriptor)
        event("after fsync")

    sys.addaudithook(audit)
    durable.os.fsync = fsync


def child(work: Callable[[], object]) -> int:
    """Run ``work`` in a forked process; return its status."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.mark.parametrize("form", WRITERS)
def test_a_kill_at_any_file_event_leaves_the_result_whole_or_absent(form: str, tmp_path: Path) -> None:
    made = tiny_pair.write(tmp_path / "pair", max_shard_size=20_000)
    models = [contents(folder) for folder in made]
    operation, place = made.operation(name="union", k=2), tmp_path / "place"
    place.mkdir()
    WRITERS[form](operation, tmp_path / "expected")
    expected = contents(tmp_path / "expected")

    def killed_at(number: int) -> bool:
        seen = 0

        def event(_: str) -> None:
            nonlocal seen
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

        def work() -> None:
            events(place, event)
            WRITERS[form](operation, place / "out")

        return os.WIFSIGNALED(child(work))

    absent = whole = 0
    number = 1
    while killed_at(number):
        names = {path.name.rstrip("0123456789") for path in place.iterdir()}
        assert names <= {".tmp-out-", "out"}
        if (place / "out").exists():
            assert contents(place / "out") == expected
            whole += 1
            shutil.rmtree(place / "out")
        else:
            absent += 1
        number += 3
    assert absent >= 5
    assert whole >= 1
    assert [contents(folder) for folder in made] == models
    assert [path.name for path in place.iterdir()] == ["out"]  # the last one lived, and cleared what others left
    assert contents(place / "out") == expected
