"""Stop when training no longer removes noise from what words say together, but adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from holdfast.records import Decision, Record, Verb
from holdfast.signals.base import History
from holdfast.signals.reading import reading
from holdfast.signals.series import check_count, check_one_of

BALANCE, PAST_BEST = "interactions_balance", "interactions_past_best"
BY_TEMPLATES = {BALANCE: "interactions_stable_balance", PAST_BEST: "interactions_stable_past_best"}
GAMMA_EMERGED, GAMMA_PRESERVED = "interactions_gamma_emerged", "interactions_gamma_preserved"
STABLE_EMERGED, STABLE_PRESERVED = "interactions_stable_emerged", "interactions_stable_preserved"
RHO_EMERGED, RHO_PRESERVED = "interactions_rho_emerged", "interactions_rho_preserved"
ORDER_EMERGED, ORDER_PRESERVED = "interactions_order_emerged", "interactions_order_preserved"
REMOVAL, TURNOVER = "interactions_removal", "interactions_turnover"
NOISE = {"repeats": "interactions_noise_turnover", "templates": "interactions_template_turnover"}
READ = (
    BALANCE, PAST_BEST, GAMMA_EMERGED, GAMMA_PRESERVED, STABLE_EMERGED, STABLE_PRESERVED, RHO_EMERGED, RHO_PRESERVED,
    ORDER_EMERGED, ORDER_PRESERVED, REMOVAL, TURNOVER,
)  # fmt: skip
"""What the rule reads of the probe ``interactions``, all without ``interactions_``, means over its prompts:

==================== ==================================================================================================
``balance``           B = D' − U: removed unreliable mass less emerged unreliable mass, as shares of the strength at the
                    start; 0 there
``past_best``         chance, over resampled prompts, that B is below the B of the best moment so far
``gamma_…``           γ of what ``emerged`` since the start, and of what is ``preserved``, by other models or twins
``stable_…``          the same by templates of the prompt; read where no other model was asked, or ``by: templates``
``rho_…``             non-cancellation ρ̃ of both, the floor of random signs taken off
``order_…``           mean order of both
``removal``           mass removed since the moment before, as a share of the strength at the start
``turnover``          what emerged or was removed since the start, as a share of all that counts
``noise_turnover``    the same between two measurements of one moment, and ``template_turnover`` between two templates
==================== ==================================================================================================
"""
Told = dict[str, float | None]


@dataclass(frozen=True)
class Interactions:
    """Stop when the balance is surely past its best, and at least two of four facts say why; keep the best moment.

    With E what emerged, P what was preserved, and t* the moment with the highest balance so far::

        past       P_boot(B_t < B_t*) >= confidence
        facts      γ(E) < ½ γ(P)     ρ̃(E) < ρ̃(P)     mean order(E) > mean order(P)     removal <= settled
        STOP       past, and at least ``facts`` facts, at ``checks`` moments in a row

    A fact that is unknown (nothing emerged) does not speak. It abstains where two measurements of one moment differ
    more than that moment from the start: then there is nothing to be told, and the moment counts for nothing. Which
    two is ``against``; two templates differ so much in most models that hardly any moment is told from them.

    Evidence: arXiv 2605.17967 describes the two stages (noise-like interactions go first, then overfitted ones come) in
    five models; the authors give no rule. This one is ours; in our studies it lost to one-line rules
    (``docs/early-stopping.md``).

    Args:
        confidence: Chance of being past the best, in (0.5, 1).
        facts: How many of the four must speak, 0 to 4.
        checks: Moments in a row, at least 1.
        settled: Removed mass of a moment that counts as none, at least 0.
        against: ``repeats`` of the computation, or ``templates`` of the prompt.
        keep: ``best`` keeps the moment of the best balance, ``latest`` the last moment that is not surely past it:
            moments that the prompts cannot tell apart are alike, and of those the one that learned most.
        by: Who says what is reliable: ``models`` where the probe asked other models and templates where it did not, or
            ``templates`` in any case.

    Example:
        >>> from holdfast.records import Record
        >>> said = {GAMMA_EMERGED: 0.1, GAMMA_PRESERVED: 0.6, RHO_EMERGED: 0.0, RHO_PRESERVED: 0.4, ORDER_EMERGED: 5.0,
        ...         ORDER_PRESERVED: 2.0, REMOVAL: 0.0, TURNOVER: 0.5, STABLE_EMERGED: None, STABLE_PRESERVED: None,
        ...         NOISE["repeats"]: 0.1}
        >>> told = [(0.0, 0.0), (0.3, 0.0), (0.1, 0.95), (-0.2, 1.0)]
        >>> history = [Record(k, {}, {**said, BALANCE: b, PAST_BEST: p}) for k, (b, p) in enumerate(told)]
        >>> decision = Interactions().decide(history)
        >>> decision.verdict.value, decision.best_step
        ('stop', 1)
    """

    confidence: float = 0.9
    facts: int = 2
    checks: int = 2
    settled: float = 0.01
    against: Literal["repeats", "templates"] = "repeats"
    by: Literal["models", "templates"] = "models"
    keep: Literal["best", "latest"] = "best"

    oracle: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_count("checks", self.checks)
        check_count("facts", self.facts, least=0)
        check_one_of("against", self.against, tuple(NOISE))
        check_one_of("by", self.by, ("models", "templates"))
        check_one_of("keep", self.keep, ("best", "latest"))
        if not 0.5 < self.confidence < 1 or not self.settled >= 0 or self.facts > 4:
            raise ValueError(
                "confidence must be in (0.5, 1), facts at most 4 and settled at least 0, "
                f"got {self.confidence}, {self.facts} and {self.settled}"
            )

    @property
    def needs(self) -> tuple[str, ...]:
        """All that the rule reads."""
        balances = tuple(BY_TEMPLATES.values()) if self.by == "templates" else ()
        return (*READ, NOISE[self.against], *balances)

    def decide(self, history: History) -> Decision:
        """Decide after the last record. Raises NotRecorded if a record lacks a reading."""
        if not history:
            return Decision(Verb.ABSTAIN, reason="nothing is recorded yet")
        best, best_step, run, stopped = float("-inf"), None, 0, False
        kept: int | None = None
        tells = True
        for number, record in enumerate(history):
            told = self._read(record)
            balance, past = told[BALANCE], told[PAST_BEST]
            tells = balance is not None and past is not None and (number == 0 or self._told_apart(told))
            if not tells or balance is None or past is None:
                continue
            if balance > best:
                best, best_step = balance, record.step
            if record.step == best_step or (self.keep == "latest" and past < self.confidence and not stopped):
                kept = record.step
            run = run + 1 if past >= self.confidence and self._speaking(told) >= self.facts else 0
            stopped = stopped or run >= self.checks
        now = history[-1].step
        if not tells:
            return Decision(Verb.ABSTAIN, kept, reason=self._why_not(history[-1]))
        told = self._read(history[-1])
        reason = (
            f"balance {told[BALANCE]:.3g}, best {best:.3g} at step {best_step}; past it with chance "
            f"{told[PAST_BEST]:.2f}, {self._speaking(told)} of 4 facts speak"
        )
        return Decision(Verb.STOP if stopped else Verb.GO_ON, kept, kept == now, reason)

    def _read(self, record: Record) -> Told:
        told = {name: reading(record, name, "select") for name in self.needs}
        if self.by == "templates":
            told |= {name: told[other] for name, other in BY_TEMPLATES.items()}
            told |= {GAMMA_EMERGED: None, GAMMA_PRESERVED: None}
        return told

    def _speaking(self, told: Told) -> int:
        def below(one: str, other: str, share: float = 1.0) -> bool:
            a, b = told[one], told[other]
            return a is not None and b is not None and a < share * b

        removal, models = told[REMOVAL], told[GAMMA_EMERGED] is not None
        emerged, preserved = (GAMMA_EMERGED, GAMMA_PRESERVED) if models else (STABLE_EMERGED, STABLE_PRESERVED)
        return (
            below(emerged, preserved, 0.5)
            + below(RHO_EMERGED, RHO_PRESERVED)
            + below(ORDER_PRESERVED, ORDER_EMERGED)
            + (removal is not None and removal <= self.settled)
        )

    def _told_apart(self, told: Told) -> bool:
        turnover, noise = told[TURNOVER], told[NOISE[self.against]]
        return turnover is not None and (noise is None or noise <= turnover)

    def _why_not(self, last: Record) -> str:
        told = self._read(last)
        if told[BALANCE] is None or told[PAST_BEST] is None:
            return f"the balance is unknown at step {last.step}"
        return f"two measurements of step {last.step} differ as much as it differs from the start"
