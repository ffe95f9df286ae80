"""The user's own file: one JSON object a line, in the forms that TRL and the published data use.

Four forms of row are read, and may be mixed:

- ``{"prompt": …, "completion": …}``, each a string or a list of messages (the completion: one assistant message);
- ``{"messages": [{"role": …, "content": …}, …]}``, of which the last, the assistant's, is learned;
- ``{"conversations": [{"from": "human", "value": …}, {"from": "gpt", "value": …}]}``, as LLaVA and others publish;
- ``{"problem": …, "solution": …, "answer": …}``, as mathematics is published: also ``question`` for the problem (after
  its ``context``), ``final_answer``, a list, for the answer, and one of solution and answer alone. What is learned is
  the solution, else the answer; the answer, as text, is also a column.

Where two answers are compared, one form is read, TRL's: ``{"prompt": …, "chosen": …, "rejected": …}``, each a string or
a list of messages; without ``prompt``, the messages of both but for the last are the prompt, the same in both.

A row may ask about pictures: ``"image": "path"`` or ``"images": ["path", …]``, local files, relative to the rows' own.
They stand before the text of the first user message; a mark ``<image>`` there, as LLaVA writes it, is taken out.

All other keys of a row are columns: training ignores them, a scorer gets them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from holdfast.data.picture_files import PictureFile, picture_file
from holdfast.errors import DataError
from holdfast.records import Example, Message

ROLES = ("system", "user", "assistant")
PUBLISHED_ROLES = {"human": "user", "gpt": "assistant", "system": "system", "user": "user", "assistant": "assistant"}
MARK = "<image>"
FORMS = ("prompt", "completion", "messages", "conversations")
PROBLEMS, SOLUTIONS, ANSWERS = ("problem", "question"), ("solution",), ("answer", "final_answer")
Found = TypeVar("Found")
COMPLETION = '{"prompt": "…", "completion": "…"}'
SHOWN = 10
"""Faulty rows that one error names."""


class Row(NamedTuple):
    """One row of a file.

    Attributes:
        example: What is asked and learned.
        columns: The row's further keys, for scorers.
    """

    example: Example
    columns: Mapping[str, Any]


class Preference(NamedTuple):
    """One prompt with two answers, of which the first is the better."""

    chosen: Example
    rejected: Example


class _Fault(Exception):
    """What is wrong with the row at hand; the caller adds file and line."""


def read_rows(path: str | Path) -> list[Example]:
    """Return the examples of a JSONL file (or of a ``.json`` file that is one list of rows), in its order.

    Blank lines and a byte-order mark are skipped. Nothing is repaired, shortened or left out.

    Raises:
        DataError: the file cannot be read or holds no rows, or rows are malformed: the first ten are named by line.
    """
    return [row.example for row in read_table(path)]


def read_table(path: str | Path) -> list[Row]:
    """As `read_rows`, with the columns that a scorer may ask for."""
    return _read(path, _row, example=COMPLETION)


def read_prompts(path: str | Path) -> list[Example]:
    """As `read_rows`, where the model's own answers will take the place of the rows': a row may have none.

    A ``prompt`` without completion, or messages whose last is the user's, is asked as it is; as its answer, which none
    will learn, the text of its last message stands, so that plans have a length to count with.
    """
    return _read(path, _asked, example='{"prompt": "…"}')


def read_preferences(path: str | Path) -> list[Preference]:
    """Return the pairs of a JSONL file, in its order; see the module.

    Raises:
        DataError: as `read_rows`; and where a row lacks an answer, or has the same one twice.
    """
    return _read(path, _preference, example='{"prompt": "…", "chosen": "…", "rejected": "…"}')


def _read(path: str | Path, parse: Callable[[dict[str, Any], str, Path], Found], *, example: str) -> list[Found]:
    file = Path(path)
    try:
        raw = file.read_bytes()
    except OSError as fault:
        raise DataError(f"cannot read the data file {file}: {fault.strerror or fault}") from fault
    return _usable(_pieces(raw), str(file), file.parent, parse, example)


def rows_of(values: Iterable[dict[str, Any]], source: str) -> list[Row]:
    """As `read_table`, of rows that were read elsewhere, for example by `datasets`.

    Args:
        values: The rows as JSON would hold them; pictures are paths.
        source: Where they came from, for error messages.
    """
    return _usable(enumerate(values, 1), source, Path(), _row, COMPLETION)


def _usable(
    pieces: Iterable[tuple[int, bytes | dict[str, Any]]],
    name: str,
    folder: Path,
    parse: Callable[[dict[str, Any], str, Path], Found],
    example: str,
) -> list[Found]:
    rows: list[Found] = []
    faults: list[str] = []
    for place, line in pieces:
        try:
            rows.append(parse(_parsed(line), f"{name}:{place}", folder))
        except _Fault as fault:
            faults.append(f"  line {place}: {fault}")
    if faults:
        more = [f"  … and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        many = "1 row" if len(faults) == 1 else f"{len(faults)} rows"
        raise DataError(
            "\n".join([f"{name}: {many} of {len(rows) + len(faults)} cannot be used", *faults[:SHOWN], *more])
        )
    if not rows:
        raise DataError(f"{name} holds no rows; write one JSON object a line: {example}")
    return rows


def _pieces(raw: bytes) -> Iterator[tuple[int, bytes | dict[str, Any]]]:
    """Yield numbered rows: lines, or the members of a single JSON list (how the published data is stored)."""
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    if raw.lstrip()[:1] == b"[":
        try:
            members = json.loads(raw)
        except (ValueError, RecursionError):
            members = None  # not one list: judged line by line below
        if isinstance(members, list):
            yield from enumerate(members, 1)
            return
    # Only line feeds part rows: U+2028 and its like may stand inside a JSON string.
    for number, line in enumerate(raw.split(b"\n"), 1):
        if line.strip():
            yield number, line


def _parsed(line: bytes | dict[str, Any]) -> dict[str, Any]:
    if isinstance(line, bytes):
        try:
            value = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as fault:
            raise _Fault(f"not UTF-8 (byte {line[fault.start]:#04x} at column {fault.start + 1})") from fault
        except json.JSONDecodeError as fault:
            raise _Fault(f"not JSON: {fault.msg} at column {fault.colno}: {_short(line.decode())}") from fault
        except RecursionError as fault:
            raise _Fault("nested too deep") from fault
    else:
        value = line
    if not isinstance(value, dict):
        raise _Fault(f"a row is a JSON object, this is {_kind(value)}")
    return value


def _row(row: dict[str, Any], source: str, folder: Path) -> Row:
    if "messages" in row:
        prompt, completion = _split(_messages(row["messages"], "messages"), "messages")
    elif "conversations" in row:
        prompt, completion = _split(_published(row["conversations"]), "conversations")
    elif "prompt" in row and "completion" in row:
        prompt, completion = _prompt(row["prompt"]), _completion(row["completion"])
    elif any(key in row for key in PROBLEMS) and any(key in row for key in (*SOLUTIONS, *ANSWERS)):
        return _mathematics(row, source)
    else:
        found = ", ".join(map(str, row)) or "none"
        raise _Fault(f"needs prompt and completion, or messages, or problem and solution; its keys are: {found}")
    if not prompt:
        raise _Fault("nothing is asked: there is no message before the answer")
    if not completion.strip():
        raise _Fault("the completion is empty: there is nothing to learn")
    prompt = _showing(prompt, _pictures(row.get("images") or row.get("image"), folder))
    columns = {key: value for key, value in row.items() if key not in FORMS}
    return Row(Example(prompt, completion, source), columns)


def _asked(row: dict[str, Any], source: str, folder: Path) -> Example:
    if "messages" in row:
        prompt = _messages(row["messages"], "messages")
    elif "conversations" in row:
        prompt = _published(row["conversations"])
    elif "prompt" in row and "completion" not in row:
        prompt = _prompt(row["prompt"])
    else:
        return _row(row, source, folder).example
    if not prompt or prompt[-1]["role"] != "user":
        return _row(row, source, folder).example
    if not prompt[-1]["content"].strip():
        raise _Fault("the last message is empty: there is nothing to answer")
    shown = _showing(prompt, _pictures(row.get("images") or row.get("image"), folder))
    return Example(shown, prompt[-1]["content"], source)


def _mathematics(row: dict[str, Any], source: str) -> Row:
    problem = "\n".join((*_texts(row, ("context",)), *_texts(row, PROBLEMS)[:1]))
    answer = ", ".join(_texts(row, ANSWERS))
    completion = next(iter(_texts(row, SOLUTIONS)), answer)
    if not problem or not completion:
        raise _Fault("the problem is empty" if not problem else "solution and answer are empty")
    columns = {**row, "answer": answer} if answer else row
    return Row(Example((Message(role="user", content=problem),), completion, source), columns)


def _texts(row: dict[str, Any], keys: Sequence[str]) -> list[str]:
    """Return what the first of these columns that says something says: one text, or those of a list."""
    for key in keys:
        value = row.get(key)
        parts = value if isinstance(value, list) else [] if value is None else [value]
        said = [f"{part:.15g}" if type(part) in (int, float) else _text(part, key).strip() for part in parts]
        if any(said):
            return [text for text in said if text]
    return []


def _preference(row: dict[str, Any], source: str, folder: Path) -> Preference:
    missing = [key for key in ("chosen", "rejected") if key not in row]
    if missing:
        found = ", ".join(map(str, row)) or "none"
        raise _Fault(f"needs prompt, chosen and rejected; {' and '.join(missing)} missing, its keys are: {found}")
    if "prompt" in row:
        prompt = _prompt(row["prompt"])
        chosen, rejected = (_completion(row[key], key) for key in ("chosen", "rejected"))
    else:
        (prompt, chosen), (other, rejected) = (_split(_messages(row[key], key), key) for key in ("chosen", "rejected"))
        if prompt != other:
            raise _Fault("chosen and rejected do not answer the same messages; give them one prompt")
    if not prompt:
        raise _Fault("nothing is asked: there is no message before the answers")
    for key, answer in (("chosen", chosen), ("rejected", rejected)):
        if not answer.strip():
            raise _Fault(f"{key} is empty: there is nothing to compare")
    if chosen == rejected:
        raise _Fault("chosen and rejected are the same: there is nothing to prefer")
    prompt = _showing(prompt, _pictures(row.get("images") or row.get("image"), folder))
    return Preference(Example(prompt, chosen, source), Example(prompt, rejected, source))


def _pictures(value: Any, folder: Path) -> tuple[PictureFile, ...]:
    names = [value] if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _Fault("images must be a list of paths, and image one path")
    remote = [name for name in names if "://" in name or name.startswith("data:")]
    if remote:
        raise _Fault(f"{_short(remote[0])} is no local path; download it first")
    try:
        return tuple(picture_file(folder / name) for name in names)
    except DataError as fault:
        raise _Fault(str(fault)) from fault


def _showing(prompt: tuple[Message, ...], pictures: tuple[PictureFile, ...]) -> tuple[Message, ...]:
    """Put the pictures before the text of the first user message, in the place of its marks if it has any."""
    if not pictures:
        return prompt
    first = next((number for number, message in enumerate(prompt) if message["role"] == "user"), None)
    if first is None:
        raise _Fault("has pictures, and no user message to put them before")
    text = prompt[first]["content"]
    marks = sum(message["content"].count(MARK) for message in prompt)
    if marks not in (0, len(pictures)) or marks != text.count(MARK):
        raise _Fault(
            f"has {len(pictures)} pictures and {marks} marks {MARK}; write all marks in the first user message, or none"
        )
    shown = Message(role="user", content=text.replace(MARK + "\n", "").replace(MARK, ""), images=pictures)
    return (*prompt[:first], shown, *prompt[first + 1 :])


def _prompt(value: Any) -> tuple[Message, ...]:
    if isinstance(value, str):
        if not value.strip():
            raise _Fault("the prompt is empty")
        return (Message(role="user", content=_text(value, "prompt")),)
    return _messages(value, "prompt")


def _completion(value: Any, key: str = "completion") -> str:
    if isinstance(value, str):
        return _text(value, key)
    messages = _messages(value, key)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise _Fault(f"{key} must be one assistant message, found: {_roles(messages)}")
    return messages[0]["content"]


def _split(messages: tuple[Message, ...], key: str) -> tuple[tuple[Message, ...], str]:
    if not messages or messages[-1]["role"] != "assistant":
        raise _Fault(f"{key} must end with the assistant's answer, found: {_roles(messages)}")
    return messages[:-1], messages[-1]["content"]


def _messages(value: Any, key: str) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise _Fault(
            f"{key} is {_kind(value)}; write a list of messages" + (" or a string" if key != "messages" else "")
        )
    messages = []
    for number, message in enumerate(value, 1):
        where = f"message {number} of {key}"
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise _Fault(f"{where} needs role and content, found {_short(json.dumps(message))}")
        if message["role"] not in ROLES:
            raise _Fault(f"{where} has the role {_short(json.dumps(message['role']))}; known: {', '.join(ROLES)}")
        messages.append(Message(role=message["role"], content=_text(message["content"], f"content of {where}")))
    return tuple(messages)


def _published(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise _Fault(f"conversations is {_kind(value)}; write a list of turns")
    messages = []
    for number, turn in enumerate(value, 1):
        where = f"turn {number} of conversations"
        if not isinstance(turn, dict) or not {"from", "value"} <= turn.keys():
            raise _Fault(f"{where} needs from and value, found {_short(json.dumps(turn))}")
        role = PUBLISHED_ROLES.get(turn["from"]) if isinstance(turn["from"], str) else None
        if role is None:
            raise _Fault(f"{where} is from {_short(json.dumps(turn['from']))}; known: {', '.join(PUBLISHED_ROLES)}")
        messages.append(Message(role=role, content=_text(turn["value"], f"value of {where}")))
    return tuple(messages)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise _Fault(f"{what} is {_kind(value)}, not text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as fault:
        raise _Fault(f"{what} holds a lone surrogate (U+{ord(value[fault.start]):04X}), which no text is") from fault
    return value


def _roles(messages: tuple[Message, ...]) -> str:
    return ", ".join(message["role"] for message in messages) or "no message"


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 60 else text[:57] + "…"
