"""The page of a spectral diagnosis: where in the weights training went, and what that does not say."""

from __future__ import annotations

from pathlib import Path

from holdfast.report import spectral_figures as figures
from holdfast.report import spectral_tables as tables
from holdfast.report import words
from holdfast.report.publishing import drawn, page_path, publish, template
from holdfast.report.spectral_profile import Diagnosis
from holdfast.report.tables import Table

CAPTIONS = {
    "maps": (
        "Each cell is one matrix of a block (the median over experts). Rotation is Σ sin² of the principal angles "
        "between the first k singular directions before and after, relative to unrelated subspaces: 0 is unmoved, 1 is "
        "chance. Inside: the share of the update between the first k left and the first k right directions, relative "
        "to what a random update has there; above 1 the update aims at the directions that the base uses most."
    ),
    "bands": (
        "Singular indices in ten runs, the largest values first; medians over matrices. Dashed: an update of the same "
        "norm with independent Gaussian entries, measured in the same way, with its middle half. Only what leaves the "
        "dashed line is about this training: any update turns those parts of a spectrum most in which singular values "
        "lie closest."
    ),
    "trajectory": (
        "Medians over the matrices that moved, at the run's checkpoints; step 0 is the base. Beside them success of "
        "the run, with 95 % intervals."
    ),
    "hidden": (
        "Likeness of the tuned model's hidden states to the base's at the last token of each prompt, by block. Cosines "
        "with 95 % intervals over problems."
    ),
}


def write(diagnosis: Diagnosis, output: Path | str, *, title: str) -> Path:
    """Write the page with its figures, and return the page's path.

    Raises:
        RunFolderError: nothing can be written.
    """
    made = {
        "trajectory": figures.trajectory(diagnosis),
        "maps": figures.maps(diagnosis.last),
        "bands": figures.bands(diagnosis.last),
        "hidden": figures.hidden(diagnosis),
    }
    shown = {name: drawn(name, figure, CAPTIONS[name]) for name, figure in made.items() if figure is not None}
    text = template("spectral.html.j2").render(
        title=title,
        subtitle=subtitle(diagnosis),
        warnings=tables.warnings(diagnosis),
        last=diagnosis.last.name,
        several=len(diagnosis.checkpoints) > 1,
        trajectory=tables.trajectory(diagnosis),
        success=_unless_empty(tables.success(diagnosis)),
        figures=dict.fromkeys(CAPTIONS) | dict(shown),
        by_role=tables.by_role(diagnosis.last),
        by_layer=tables.by_layer(diagnosis.last),
        apart=_unless_empty(tables.apart(diagnosis.last)),
        most_moved=tables.most_moved(diagnosis.last),
        against=tables.against(diagnosis) if diagnosis.other is not None else None,
        hidden=tables.hidden(diagnosis) if diagnosis.hidden else None,
        estimated=any(one.road == "first_order" for checkpoint in diagnosis.checkpoints for one in checkpoint.moved),
        provenance=_provenance(diagnosis),
    )
    return publish(page_path(output), text, {one.name: one.figure for one in shown.values()})


def subtitle(diagnosis: Diagnosis) -> str:
    """Return what was compared with what."""
    last = diagnosis.last
    directions = f"{words.percent(diagnosis.k)} of" if isinstance(diagnosis.k, float) else f"{diagnosis.k}"
    moved = f"{len(last.matrices)} matrices, {len(last.moved)} of {len(last.inner)} in blocks moved"
    names = words.listed([one.name for one in diagnosis.checkpoints])
    return f"{names} against {diagnosis.base} · {moved} · k: {directions} directions"


def _unless_empty(table: Table) -> Table | None:
    return table if table.rows else None


def _provenance(diagnosis: Diagnosis) -> Table:
    rows = [(diagnosis.base, "base", diagnosis.base_sha256[:16])]
    rows += [(one.name, "tuned", one.sha256[:16]) for one in diagnosis.checkpoints]
    return Table(("model", "", "SHA-256 of its tensors"), tuple(rows), "lll", (f"holdfast {diagnosis.version}",))
