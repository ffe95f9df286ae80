"""Puts this folder on the path, so that its tests and the law of the family import `objective_kit` by name."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
