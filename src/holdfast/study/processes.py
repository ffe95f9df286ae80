"""The processes of one run: started together, watched as one, ended together. Imports no torch."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

BYSTANDER = 3
"""Exit code of a process that ended only because another one of its run failed."""
GRACE = 60.0
"""Seconds that the other processes of a run have to end by themselves once one has failed."""


@dataclass(frozen=True)
class Spread:
    """Over how many processes of one machine each run of a study is spread.

    Attributes:
        processes: Each on an accelerator of its own, where there are any. Every one takes
            ``per_device_train_batch_size`` rows, so a run in two is another run than in one.
        sharded: Whether they share the weights out (FSDP 2) instead of holding them whole (DDP).
    """

    processes: int = 1
    sharded: bool = False

    def to_json(self) -> dict[str, int | bool]:
        """Return plain JSON values."""
        return {"processes": self.processes, "sharded": self.sharded}


class Group:
    """The processes of one run.

    Args:
        words: What each of them runs.
        spread: How many there are. They find each other on this machine, under the names that torch reads.
        output: Where all of them print.
        environment: Set on top of ours.
    """

    def __init__(
        self, words: Sequence[str], *, spread: Spread, output: IO[bytes], environment: Mapping[str, str]
    ) -> None:
        self._failed_at: float | None = None
        self._code = 0
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())} if spread.processes > 1 else {}
        self._processes = [
            subprocess.Popen(  # noqa: S603  (our own command line, no shell)
                list(words),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **environment, **meeting, **_place(index, spread)},
                start_new_session=True,  # an interrupt of the terminal is for us; we pass it on once
            )
            for index in range(spread.processes)
        ]

    def poll(self) -> int | None:
        """Return the exit code once all have ended: 0, or that of the one that failed first; None before."""
        codes = [process.poll() for process in self._processes]
        failures = sorted((code for code in codes if code), key=lambda code: code == BYSTANDER)
        if failures and self._code in (0, BYSTANDER):
            self._code = failures[0]
        if failures and self._failed_at is None:
            self._failed_at = time.monotonic()
        if None not in codes:
            return self._code
        if self._failed_at is not None and time.monotonic() > self._failed_at + GRACE:
            self.kill()
            return self._code
        return None

    def wait(self, *, pause: float) -> int:
        """Return the exit code when all have ended, looking every ``pause`` seconds."""
        while (code := self.poll()) is None:
            time.sleep(pause)
        return code

    def interrupt(self) -> None:
        """Ask all to finish their step, save and end."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End all at once. What a run has saved is whole: a checkpoint appears in one rename."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()


def _place(index: int, spread: Spread) -> dict[str, str]:
    count = str(spread.processes)
    place = {"RANK": str(index), "LOCAL_RANK": str(index), "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    how = {"ACCELERATE_USE_FSDP": str(spread.sharded).lower(), "FSDP_VERSION": "2"}
    return {**place, **how} if spread.processes > 1 else {}


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
