"""Claims of papers as data, judged by the records of studies.

One file a kind of quantity (``level change compare best sooner spread trend cost harder recovery anew beyond
reading stopping``); ``rows.py`` reads ``claims.yaml``, ``judging.py`` comes to verdicts, ``telling.py`` puts them into
words.
"""

from holdfast.report.claims.evidence import committed, evidence
from holdfast.report.claims.judging import judge
from holdfast.report.claims.rows import KINDS, Claim, Claims, read_claims
from holdfast.report.claims.telling import LEGEND, claims_json, in_short, tally, told
from holdfast.report.claims.verdicts import Judged, Verdict

__all__ = [
    "KINDS",
    "LEGEND",
    "Claim",
    "Claims",
    "Judged",
    "Verdict",
    "claims_json",
    "committed",
    "evidence",
    "in_short",
    "judge",
    "read_claims",
    "tally",
    "told",
]
