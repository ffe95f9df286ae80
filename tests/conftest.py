"""Shared by all tests."""

from __future__ import annotations

import sys
from pathlib import Path

# Test files import `tiny_models` by name; under --import-mode=importlib nothing else puts this folder on the path.
sys.path.insert(0, str(Path(__file__).parent))
