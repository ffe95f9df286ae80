"""A helper process that answers within a hard bound of time and memory, and is replaced when it cannot.

Signals cannot end one long computation in C (a power of huge integers), and a thread cannot be ended at all; a process
can. Question and answer are one line of JSON each: nothing that crosses is ever run or unpickled.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from typing import Any

START_SECONDS = 60.0
"""How long a helper may take to import what it needs, beside the bound of the question that starts it."""


class OutOfBounds(Exception):
    """The helper was ended: the question took too long, too much memory, or crashed it."""


class Helper:
    """Runs ``python -m module`` when first asked, and again after it was ended; the working folder is not on its path.

    The module reads lines of JSON and prints a line ``{"ready": true}`` and then one line for each it has read; it sets
    its own memory limit (`limit_memory`).

    Args:
        module: What is run.
        seconds: Bound of wall-clock time of one question.

    Example:
        >>> helper = Helper("holdfast.evaluate.math_helper", seconds=5)      # doctest: +SKIP
        >>> helper.ask({"gold": "1/2", "reply": "0.5"})                      # doctest: +SKIP
        {'correct': True}
    """

    def __init__(self, module: str, *, seconds: float) -> None:
        self.module, self.seconds = module, seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def ask(self, question: Mapping[str, Any]) -> Any:
        """Return the helper's answer.

        Raises:
            OutOfBounds: there was none in time, or the helper died; the next question gets a new one.
        """
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as fault:
            self.end()
            raise OutOfBounds(f"{self.module} ended by itself") from fault
        return self._line(self.seconds)

    def end(self) -> None:
        """End the helper, if it runs."""
        if self._process is not None:
            _end(self._process)
            self._process = None

    def _start(self) -> None:
        self.end()
        self._rest = b""
        self._process = subprocess.Popen(  # noqa: S603  (our own module, no shell)
            [sys.executable, "-P", "-m", self.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        weakref.finalize(self, _end, self._process)
        self._line(START_SECONDS)

    def _line(self, seconds: float) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        until = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                left = until - time.monotonic()
                ready = selector.select(left) if left > 0 else []
                part = os.read(self._process.stdout.fileno(), 65_536) if ready else b""
                if not part:
                    why = "ended by itself" if ready else f"gave no answer in {seconds:g} s"
                    self.end()
                    raise OutOfBounds(f"{self.module} {why}")
                self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)


def limit_memory(megabytes: int) -> None:
    """Bound this process's memory where the system can (not on Windows or macOS)."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20, megabytes * 2**20))


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()
