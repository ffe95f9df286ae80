"""Low-rank UV merging as it was published: singular vectors of the base with singular values of the tuned matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from holdfast.heal.base import Edit, Place, Scope
from holdfast.spectral.counts import check_share, count_of

if TYPE_CHECKING:
    from holdfast.spectral.update import Update


@dataclass(frozen=True)
class UVMerge:
    """Splice the base's singular vectors of chosen indices into the tuned matrix, index by index.

    With thin SVDs  W_base = Σ s_i u_i v_iᵀ,  W_tuned = Σ s'_i u'_i v'_iᵀ  and the chosen indices I (first ``k``, last
    ``tail``)::

        W_healed = Σ_{i in I} t_i u_i v_iᵀ + Σ_{i not in I} s'_i u'_i v'_iᵀ
                 = W_tuned + Σ_{i in I} (t_i u_i v_iᵀ − s'_i u'_i v'_iᵀ)

    with t_i = s'_i (``values: tuned``) or s_i (``base``). The second line is what is computed.

    It is not `Union`: near-equal singular values at the cut split differently in the two models, so that the result
    leaves the segment between them (its artefact is reported), and the spliced bases are not orthonormal.

    Args:
        k: First indices: a share of min(M, N) in (0, 1], a number, or 0 for none.
        tail: Last indices, likewise.
        values: Whose singular values go with the base's vectors.
        form: ``published`` returns the base itself where all indices are chosen, as the authors' program does (so that
            there nothing is spliced at all); ``identity`` keeps to the formula.

    Reference: Jin et al. 2025, https://arxiv.org/abs/2508.16546, and their program. They restore every matrix of the
    model; see `holdfast.heal.apply.Healing.on` for the same.
    """

    k: float | int = 0.2
    tail: float | int = 0
    values: Literal["tuned", "base"] = "tuned"
    form: Literal["published", "identity"] = "published"

    scope: ClassVar[Scope] = "matrices"

    def __post_init__(self) -> None:
        check_share("k", self.k, zero=True)
        check_share("tail", self.tail, zero=True)
        if not self.k and not self.tail:
            raise ValueError("k and tail are both 0: nothing would be merged")
        if self.values not in ("tuned", "base"):
            raise ValueError(f"values must be tuned or base, got {self.values!r}")
        if self.form not in ("published", "identity"):
            raise ValueError(f"form must be published or identity, got {self.form!r}")

    def edit(self, update: Update, place: Place) -> Edit:  # noqa: ARG002  (alike everywhere)
        """Return W_tuned − W_healed."""
        import torch

        head = count_of(self.k, update.rank) if self.k else 0
        tail = count_of(self.tail, update.rank) if self.tail else 0
        if head + tail >= update.rank:
            if self.form == "published":
                return Edit(share=1.0)
            head, tail = update.rank, 0
        runs = [slice(0, head)] if head else []
        if tail:
            runs.append(slice(update.rank - tail, update.rank))
        left, right = [], []
        for run in runs:
            base, tuned = update.base_basis(run), update.tuned_basis(run)
            values_K = tuned.values_K if self.values == "tuned" else base.values_K
            left += [tuned.left_MK * tuned.values_K, -base.left_MK * values_K]
            right += [tuned.right_NK, base.right_NK]
        return Edit(left_MK=torch.cat(left, dim=1), right_NK=torch.cat(right, dim=1))
