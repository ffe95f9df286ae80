"""Every fixed text of the points game, for whoever collects the words of its worlds."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.environments.general_points.answer_formats import ANSWER_FORMATS, fill
from holdfast.environments.general_points.cards import CARD_TEXTS, RANKS, SUITS, Card, colored_rank_text
from holdfast.environments.general_points.legacy import legacy_messages
from holdfast.environments.general_points.prompts import PROMPT_STYLES
from holdfast.environments.general_points.rules import RULES, find_rule
from holdfast.environments.general_points.verifier import strict_messages

_FIELDS = (
    "rule", "rule_terse", "cards", "card_list", "card_json", "target", "answer", "answer_asks",
    "number_list", "numbers", "mapping", "steps", "formula",
)  # fmt: skip


def vocabulary_texts() -> Iterator[str]:
    """Yield every fixed text: prompt styles, card wordings, answer formats, rules and verdict messages.

    Fields are blank, so a style's text comes as ``"rule \\ncards \\ntarget \\nanswer "``. Numbers other than those in
    the rules are not listed: a hand's values and intermediate results can be any small integer.
    """
    blank = dict.fromkeys(_FIELDS, " ")
    for text in PROMPT_STYLES.values():
        yield fill(text, blank)
    for answer_format in ANSWER_FORMATS.values():
        yield answer_format.name
        yield answer_format.asks
        yield fill(answer_format.template, blank)
    for rank in range(1, len(RANKS) + 1):
        for suit in range(len(SUITS)):
            card = Card(rank, suit)
            yield colored_rank_text(card)
            for text_of in CARD_TEXTS.values():
                yield text_of(card)
    for name in RULES:
        yield find_rule(name).sentence()
        yield find_rule(name).terse()
    yield from strict_messages()
    yield from legacy_messages()
    yield "+ - * / ( ) = [ ] , ' \" : ; 0 1 2 3 4 5 6 7 8 9"
