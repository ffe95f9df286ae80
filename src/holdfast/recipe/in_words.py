"""Parts of a recipe in words, for plans and reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def replay_in_words(data: Mapping[str, Any]) -> str:
    """Return what a recipe's ``data`` block, as plain values, replays; empty if nothing.

    Example:
        >>> replay_in_words({"replay": {"share": 0.05, "path": "chat.jsonl", "answers": "base"}})
        '5 % of rows replay chat.jsonl as the untrained model answers it'
    """
    replay = data.get("replay")
    if not isinstance(replay, Mapping):
        return ""
    source = replay.get("path")
    if not source:
        same = replay.get("environment") == data.get("environment")
        rule = replay.get("rule") or (data.get("rule") if same else None)
        source = f"{replay.get('environment', '?')}, rule {rule or '?'},"
    words = f"{100 * replay.get('share', 0):g} % of rows replay {source}"
    return f"{words} as the untrained model answers it" if replay.get("answers") == "base" else words.rstrip(",")
