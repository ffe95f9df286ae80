"""The program that compares two formulas with Math-Verify, run by `holdfast.evaluate.bounded.Helper`.

Only LaTeX is parsed, by a grammar; the library's parser of plain expressions evaluates text as Python and is left out.
"""

from __future__ import annotations

import json
import sys

from holdfast.evaluate.bounded import limit_memory

MEGABYTES = 2048


def main() -> None:
    """Answer questions until the input ends."""
    limit_memory(MEGABYTES)
    from math_verify import LatexExtractionConfig, parse, verify

    latex = [LatexExtractionConfig()]
    print(json.dumps({"ready": True}), flush=True)  # noqa: T201
    for line in sys.stdin:
        question = json.loads(line)
        try:
            texts = (f"${question[name]}$" for name in ("gold", "reply"))
            gold, reply = (parse(text, extraction_config=latex, parsing_timeout=None) for text in texts)
            correct = bool(gold and reply and verify(gold, reply, timeout_seconds=None))
        except (Exception, RecursionError):  # noqa: BLE001  (whatever a parser of hostile text may raise, it is wrong)
            correct = False
        print(json.dumps({"correct": correct}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
