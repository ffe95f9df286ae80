"""Two ranks give the gradient of one process, also when one of them has a micro-batch without targets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).parent / "ranks_worker.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "kind"), [("llama", "ddp"), ("qwen2", "fsdp")], ids=["ddp", "fsdp, tied head"]
)
def test_two_ranks_give_the_gradient_of_one_process(architecture, kind):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(WORKER)]
    done = subprocess.run(
        [*command, architecture, kind],
        capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = re.search(r"worst (\S+)", done.stdout)
    assert found, done.stdout
    assert float(found[1]) < 1e-5
