"""A SIGKILL at any file event of a save, or at any time, leaves a checkpoint from which the run goes on bit for bit.

A child is forked, saves ``checkpoint-4`` beside an intact ``checkpoint-2``, and kills itself at its n-th file event.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers.utils.logging import disable_progress_bar

from holdfast.models import durable, rng
from holdfast.models.load import load
from holdfast.train import checkpoint as ck
from tiny_run import IDENTITY, Run, same


class Scene(NamedTuple):
    """A folder with checkpoint-2 and logs of four steps, the live run at step 4, and an unbroken run's end."""

    folder: Path
    run: Run
    random: dict[str, Any]
    weights: dict[str, Any]
    metrics: str


pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files are read from /proc"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]
AUDITED = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """More threads make nothing faster at this size, and threads do not survive a fork."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def forked(work: Callable[[], object]) -> int:
    """Run ``work`` in a child process; return the child's pid, not waited for.

    The child draws no progress bars: their lock is shared between processes, and killed while it holds it, it would
    stop us for ever.
    """
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)
        disable_progress_bar()
        try:
            work()
        finally:
            os._exit(0)
    return pid


def ended_by_kill(pid: int) -> bool:
    _, status = os.waitpid(pid, 0)
    assert not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGALRM, "the child hung"
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def counting(folder: Path, event: Callable[[str], None]) -> None:
    """Call ``event`` at each file event below ``folder``, in this process, for the rest of its life."""

    def audit(name: str, arguments: tuple[Any, ...]) -> None:
        if name in AUDITED and not (name == "open" and _reads(arguments)):
            # shutil.rmtree names files relative to an open folder.
            relative = name in ("os.remove", "os.rmdir") and arguments[1] != -1
            if relative or str(folder) in str(arguments[0]):
                event(f"{name} {arguments[0]}")

    real = os.fsync

    def fsync(descriptor: int) -> None:
        event(f"before fsync {os.readlink(f'/proc/self/fd/{descriptor}')}")
        real(descriptor)
        event("after fsync")

    sys.addaudithook(audit)
    durable.os.fsync = fsync


def _reads(arguments: tuple[Any, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)


def killed_at(folder: Path, work: Callable[[], object], number: int) -> bool:
    """Whether a child that kills itself at its ``number``-th file event was killed (it may end before)."""

    def child() -> None:
        seen = 0

        def event(_: str) -> None:
            nonlocal seen
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

        counting(folder, event)
        work()

    return ended_by_kill(forked(child))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    unbroken = Run(tmp_path_factory.mktemp("unbroken")).train(5)
    run = Run(tmp_path_factory.mktemp("scene")).train(4, save_at=(2,))
    return Scene(run.folder, run, rng.capture(), unbroken.weights(), unbroken.metrics())


def goes_on_as_unbroken(folder: Path, scene: Scene) -> int:
    """Resume in ``folder`` and train to the end; return the step from which it went on."""
    found = ck.newest(folder, identity=IDENTITY)
    assert found is not None
    assert found.skipped == ()
    load(str(found.path))
    resumed = Run(folder).resume()
    assert list(folder.glob(".tmp*")) == []
    assert same(resumed.train(5).weights(), scene.weights)
    assert resumed.metrics() == scene.metrics
    return found.step


def fresh(scene: Scene, tmp_path: Path) -> Run:
    """Return the live run of the scene, pointed at a copy of its folder."""
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    shutil.copytree(scene.folder, tmp_path / "run")
    rng.restore(scene.random)
    scene.run.folder = tmp_path / "run"
    return scene.run


def test_a_kill_at_any_file_event_of_a_save_loses_nothing(scene: Scene, tmp_path: Path) -> None:
    steps, number = [], 0
    while True:
        number += 1
        run = fresh(scene, tmp_path)
        if not killed_at(run.folder, run.save, number):
            break
        steps.append(goes_on_as_unbroken(run.folder, scene))
    assert len(steps) >= 40
    assert steps == sorted(steps)
    assert set(steps) == {2, 4}


def test_a_kill_at_any_time_of_a_save_loses_nothing(scene: Scene, tmp_path: Path) -> None:
    times = random.Random(0)
    started = time.perf_counter()
    assert not ended_by_kill(forked(fresh(scene, tmp_path).save))
    lasts = time.perf_counter() - started
    killed = 0
    while killed < 20:
        run = fresh(scene, tmp_path)
        pid = forked(run.save)
        time.sleep(times.random() * lasts)
        os.kill(pid, signal.SIGKILL)
        if ended_by_kill(pid):
            killed += 1
        else:
            lasts *= 0.9  # the machine is less busy than when the save was timed
        goes_on_as_unbroken(run.folder, scene)


def test_a_kill_at_any_file_event_of_pruning_leaves_the_newest(scene: Scene, tmp_path: Path) -> None:
    number = 0
    while True:
        number += 1
        run = fresh(scene, tmp_path)
        run.save()
        if not killed_at(run.folder, lambda run=run: ck.prune(run.folder, keep=1), number):
            break
        assert goes_on_as_unbroken(run.folder, scene) == 4
    assert number > 10
    assert [path.name for path in run.folder.glob("checkpoint-*")] == ["checkpoint-4"]


def test_a_kill_at_any_file_event_of_a_resume_loses_nothing(scene: Scene, tmp_path: Path) -> None:
    number = 0
    while True:
        number += 1
        run = fresh(scene, tmp_path)
        run.save()
        (run.folder / "records.jsonl").write_text("younger than the checkpoint\n")
        (run.folder / "samples" / "id").mkdir(parents=True)
        (run.folder / "samples" / "id" / "4.jsonl").write_text("younger, too\n")
        with (run.folder / "metrics.jsonl").open("a") as stream:
            stream.write("half a li")
        (run.folder / ".tmp-checkpoint-5-999999999").mkdir()
        (run.folder / ".tmp-checkpoint-5-999999999" / "torn").write_text("x")
        if not killed_at(run.folder, lambda run=run: Run(run.folder).resume(), number):
            break
        goes_on_as_unbroken(run.folder, scene)
        assert not (run.folder / "records.jsonl").exists()
    assert number > 5


def test_several_kills_in_a_row_lose_nothing(scene: Scene, tmp_path: Path) -> None:
    run = fresh(scene, tmp_path)
    for number in (3, 17, 30, 41):
        assert killed_at(run.folder, run.save, number)
    goes_on_as_unbroken(run.folder, scene)


def test_every_file_is_durable_before_the_name_appears_and_the_name_afterwards(scene: Scene, tmp_path: Path) -> None:
    run = fresh(scene, tmp_path)
    log = tmp_path / "events"

    def child() -> None:
        with log.open("a") as stream:
            counting(run.folder, lambda event: (stream.write(event + "\n"), stream.flush()))
            run.save()

    assert not ended_by_kill(forked(child))
    events = log.read_text().splitlines()
    rename = next(place for place, event in enumerate(events) if event.startswith("os.rename"))
    synced = {event.removeprefix("before fsync ") for event in events[:rename] if event.startswith("before")}
    private = next(event for event in events if event.startswith("os.mkdir")).removeprefix("os.mkdir ")
    for path in (run.folder / "checkpoint-4").rglob("*"):
        assert str(Path(private) / path.relative_to(run.folder / "checkpoint-4")) in synced
    manifest = f"before fsync {private}/manifest.json"
    writes_after = [event for event in events[events.index(manifest) :] if event.startswith("open")]
    assert writes_after == []
    assert f"before fsync {private}" in events[events.index(manifest) : rename]
    assert f"before fsync {run.folder}" in events[rename:]
