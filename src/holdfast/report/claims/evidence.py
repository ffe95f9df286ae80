"""Where the records lie that decide claims."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from holdfast.errors import UserError
from holdfast.report import compact
from holdfast.report.claims.rows import Claims
from holdfast.report.load import load_runs
from holdfast.report.run_data import RunData


def committed(claims_file: Path, claims: Claims) -> list[Path]:
    """Return the folders of compact records in ``results/`` beside a file of claims that decide any of them."""
    names = {name for claim in claims.claims for name in claim.evidence}
    heads = (claims_file.parent / "results").glob(f"*/{compact.HEAD}")
    return sorted(head.parent for head in heads if head.parent.name in names)


def evidence(folders: Sequence[Path], claims: Claims) -> dict[str, list[RunData]]:
    """Return the runs of each study, found by the folder's name: ``figure1`` for ``studies/.../figure1.yaml``.

    Raises:
        UserError: a folder is called like no study of the claims.
        RunFolderError: a folder holds no runs.
    """
    names = {name for claim in claims.claims for name in claim.evidence}
    found = {folder.resolve().name: folder for folder in folders}
    strangers = [name for name in found if name not in names]
    if strangers:
        raise UserError(
            f"no claim is decided by a study called {strangers[0]}; the folder of a study's runs or records must be "
            f"called as its file: {', '.join(sorted(names))}"
        )
    return {name: load_runs(folder) for name, folder in found.items()}
