"""``holdfast report``: runs into a page, into compact records, or into verdicts on the claims of papers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.errors import UserError

if TYPE_CHECKING:
    from holdfast.report.claims import Judged


def report(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Run folders, study folders, compact records, or folders of run folders."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder to write to; that of the first path if not given.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Write compact records of finished runs into this folder (about 1 MB a study), and no page."),
    ] = None,
    claims: Annotated[
        bool, typer.Option("--claims", help="Judge the claims of papers by the given studies, or by committed records.")
    ] = False,
    claims_file: Annotated[
        Path, typer.Option("--claims-file", "--claims_file", help="The claims; records lie in results/ beside it.")
    ] = Path("docs/claims.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="With --claims: print JSON instead of a table.")] = False,
) -> None:
    """Write one self-contained HTML page about runs, and print their results."""
    from holdfast.cli.console import console, show
    from holdfast.report import load_runs, table, write, write_records

    if claims:
        _claims(paths or [], claims_file, as_json=as_json)
        return
    if not paths:
        raise UserError("name a run folder, a study folder or compact records, or ask for --claims")
    runs = load_runs(paths)
    if export is not None:
        typer.echo(f"records: {write_records(runs, export)}")
        return
    show(console(), table(runs))
    page = write(
        runs, output or (paths[0] if paths[0].is_dir() else paths[0].parent), judged=_judged(paths, claims_file)
    )
    typer.echo(f"report: {page}")


def _judged(paths: list[Path], file: Path) -> list[Judged]:
    """Return verdicts on the claims that the given studies decide; none where there are no claims about them."""
    from holdfast.report.claims import evidence, judge, read_claims

    if not file.is_file():
        return []
    claims = read_claims(file)
    names = {name for claim in claims.claims for name in claim.evidence}
    found = evidence([path for path in paths if path.resolve().name in names], claims)
    return [one for one in judge(claims, found) if one.study in found]


def _claims(folders: list[Path], file: Path, *, as_json: bool) -> None:
    from holdfast.cli.console import console, show
    from holdfast.report.claims import LEGEND, claims_json, committed, evidence, judge, read_claims, tally, told

    claims = read_claims(file)
    judged = judge(claims, evidence(folders or committed(file, claims), claims))
    if as_json:
        typer.echo(json.dumps(claims_json(judged), indent=1, ensure_ascii=False))
        return
    for claim in told(judged):
        typer.echo(f"\n{claim.heading}")
        show(console(), claim.table)
    typer.echo(f"\n{tally(judged)}\n{LEGEND}")
