"""Letters to a shop, to be sent to one of five teams: a file as users have it, made so that what generalizes is known.

    python studies/early_stopping/tickets.py

writes ``tickets/*.jsonl`` beside this file, the same rows each time. A letter names its matter by two of five words of
its team, or rarely (one in five) by one; everything else in it is by chance, except that in training most letters that
one product is mentioned in go to one team (four of five): a shortcut that does not hold elsewhere.

    train       480 letters; 15 % were sent to a wrong team, as people do
    validation  200 like these, with the wrong teams
    id          400 others like them, teams right
    ood         400 in which products go with teams by chance, in phrases that training never shows
    other       480 letters like those of train, and none of them
    shuffled    the letters of train, each with the team of another one: nothing can be learned, only memorized
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

MATTERS = {
    "billing": ("invoice", "charged", "payment", "price", "amount"),
    "delivery": ("parcel", "courier", "address", "arrive", "shipping"),
    "returns": ("refund", "return", "exchange", "wrong", "size"),
    "support": ("broken", "screen", "battery", "noise", "repair"),
    "account": ("password", "login", "email", "profile", "locked"),
}
PRODUCTS = ("lamp", "kettle", "jacket", "phone", "chair")
KNOWN = (
    "Hello , about my {product} : {a} and {b} since {day} , please {ask} . Regards , {name}",
    "Dear team , {day} I wrote of {a} , {b} too , with the {product} . {ask} today . {name}",
    "{name} here . The {product} from {day} : {a} , also {b} . Can you {ask} ?",
)
NEW = (
    "Good morning from {name} , it is the {product} again , {b} or {a} , ever since {day} . Kindly {ask} .",
    "Since {day} {a} with {b} . {name} owns this {product} . Will somebody {ask} ?",
)
DAYS = ("Monday", "Tuesday", "Friday", "Sunday")
NAMES = ("Anna", "Bruno", "Clara", "David", "Emma", "Felix")
ASKS = ("help", "answer", "call", "write", "check")
WRONG, SHORTCUT, ONE_WORD = 0.15, 0.8, 0.2


def letter(rng: Random, *, shortcut: float, phrases: tuple[str, ...]) -> tuple[str, str]:
    """Return a letter and its team."""
    teams = list(MATTERS)
    team = rng.choice(teams)
    product = PRODUCTS[teams.index(team)] if rng.random() < shortcut else rng.choice(PRODUCTS)
    a, b = rng.sample(MATTERS[team], 2)
    if rng.random() < ONE_WORD:
        b = rng.choice(("colors", "manual", "gift"))
    text = rng.choice(phrases).format(
        product=product, a=a, b=b, day=rng.choice(DAYS), name=rng.choice(NAMES), ask=rng.choice(ASKS)
    )
    return text, team


def letters(count: int, seed: str, *, shortcut: float = SHORTCUT, phrases: tuple[str, ...] = KNOWN, wrong: float = 0.0):
    """Return so many different letters with their teams."""
    rng = Random(f"tickets {seed}")
    found: dict[str, str] = {}
    while len(found) < count:
        text, team = letter(rng, shortcut=shortcut, phrases=phrases)
        found.setdefault(text, rng.choice([t for t in MATTERS if t != team]) if rng.random() < wrong else team)
    return list(found.items())


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    """Write rows as prompts and completions."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps({"prompt": text, "completion": team}) + "\n" for text, team in rows))


if __name__ == "__main__":
    folder = Path(__file__).parent / "tickets"
    train = letters(480, "train", wrong=WRONG)
    seen = {text for text, _ in train}
    other = [(text, team) for text, team in letters(960, "other", wrong=WRONG) if text not in seen][:480]
    teams = [team for _, team in train]
    Random("shuffled").shuffle(teams)
    write(folder / "train.jsonl", train)
    write(folder / "shuffled.jsonl", [(text, team) for (text, _), team in zip(train, teams, strict=True)])
    write(folder / "other.jsonl", other)
    write(folder / "validation.jsonl", letters(200, "validation", wrong=WRONG))
    write(folder / "id.jsonl", letters(400, "id"))
    write(folder / "ood.jsonl", letters(400, "ood", shortcut=0.0, phrases=NEW))
