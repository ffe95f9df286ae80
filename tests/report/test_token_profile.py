"""What the token profile says of probabilities that are known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from holdfast.report.token_profile import Profile, Targets, by_kind, ends, figure, kind_of, moved, to_json, write

TEXTS = (" the", " 7", "+", ",", " card", "<end>")
ROWS = 40


def made(**models):
    targets = Targets(
        texts=TEXTS * ROWS,
        special=tuple(text == "<end>" for text in TEXTS) * ROWS,
        rows=tuple(str(row) for row in range(ROWS) for _ in TEXTS),
    )
    return Profile(targets, {name: np.asarray(p, dtype=float) for name, p in models.items()})


def drawn(low, high, seed=0):
    """Probabilities of which ``low`` of 100 lie below 0.05 and ``high`` above 0.95, a random half of them elsewhere."""
    draw = np.random.default_rng(seed)
    p = draw.uniform(0.1, 0.9, ROWS * len(TEXTS))
    place = draw.permutation(len(p))
    p[place[: len(p) * low // 100]] = 0.01
    p[place[len(p) * low // 100 :][: len(p) * high // 100]] = 0.99
    return p


@pytest.mark.parametrize(
    ("after", "verdict"), [((5, 60), "raised"), ((45, 50), "polarized"), ((60, 5), "lowered"), ((20, 20), "neither")]
)
def test_both_ends_tell_raised_from_polarized(after, verdict):
    table = ends(made(base=drawn(20, 20), tuned=drawn(*after)))
    assert [row[0] for row in table.rows] == ["base", "tuned"]
    assert table.rows[0][2].startswith("20.0 % [")
    assert table.rows[1][-1] == verdict
    assert table.rows[1][4].split()[0] == f"{after[0] - 20:+.1f}".replace("-", "−").replace("+0.0", "0.0")


def test_tokens_of_one_row_count_once():
    p = drawn(20, 20)
    one = made(base=p, tuned=drawn(25, 22, seed=1))
    rows = Targets(one.targets.texts, one.targets.special, rows=tuple("a" for _ in one.targets.rows))
    assert ends(Profile(rows, one.models)).rows[1][-1] == "neither"  # one cluster tells nothing


def test_a_token_is_of_one_kind():
    assert [kind_of(text) for text in TEXTS[:5]] == ["function word", "digits", "operator", "punctuation", "word"]
    assert kind_of("<end>", special=True) == "special"
    assert kind_of("") == kind_of(" ") == "punctuation"
    table = by_kind(made(base=np.tile([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], ROWS)))
    assert [(row[0], row[2]) for row in table.rows] == [
        ("function word", "0.100"), ("word", "0.500"), ("digits", "0.200"),
        ("operator", "0.300"), ("punctuation", "0.400"), ("special", "0.600"),
    ]  # fmt: skip


def test_the_most_moved_tokens_come_first_and_unmoved_ones_not_at_all():
    before = np.tile([0.5] * 6, ROWS)
    after = np.tile([0.9, 0.7, 0.5, 0.5, 0.2, 0.4], ROWS)
    rows = moved(made(base=before, tuned=after), "tuned").rows
    assert [(row[0], row[-1]) for row in rows] == [
        ("␣the", "+0.400"), ("␣7", "+0.200"), ("␣card", "−0.300"), ("<end>", "−0.100"),
    ]  # fmt: skip


def test_histograms_hold_every_token_once_down_to_probabilities_of_zero():
    p = np.concatenate([[0.0, 1e-30, 1.0], drawn(30, 30)[3:]])
    told = to_json(made(base=p))["models"]["base"]
    assert sum(told["linear"]) == sum(told["logarithmic"]) == len(p)
    assert told["logarithmic"][0] == 2
    json.dumps(told)


def test_the_page_holds_the_tables_and_its_figure(tmp_path):
    profile = made(base=drawn(20, 20), **{"<b>tuned</b>": drawn(45, 50)})
    page = write(profile, tmp_path / "tokens.html", title="Tokens").read_text()
    assert "polarized" in page
    assert "&lt;b&gt;tuned" in page
    assert "<b>tuned" not in page
    assert (tmp_path / "tokens-figures" / "tokens.png").stat().st_size > 10_000
    assert len(figure(profile).axes) == 2
