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
def test_two_ranks_give_the_gradient_of_one_process_under_ddp_and_fsdp(tmp_path):
    paths = os.pathsep.join([str(WORKER.parent), str(WORKER.parents[1])])
    command = [sys.executable, str(WORKER), str(tmp_path / "store")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found = dict(re.findall(r"^(\w+) (\S+e\S+)$", done.stdout, re.MULTILINE))
    assert found.keys() == {"ddp", "fsdp", "shared_ddp", "shared_fsdp", "penalized_ddp"}, done.stdout
    assert all(float(worst) < 1e-5 for worst in found.values()), found
