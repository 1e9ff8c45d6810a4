"""The source `jsonl`: a record a line; what cannot be read is told line by line."""

import json
from collections.abc import Iterator, Sequence
from typing import TypeVar

from pydantic import ValidationError

from llmops_preprocess.bounded import TooLongError, bounded_lines
from llmops_preprocess.config import JsonLines
from llmops_preprocess.fingerprints import digest_over
from llmops_preprocess.record import Broken, Record
from llmops_preprocess.slices import Piece
from llmops_shared.contracts.exchange import Message
from llmops_shared.errors import LlmopsError
from llmops_shared.store import Entry, store_for

T = TypeVar("T")

MAX_LINE_BYTES = 64 * 2**20
"""Longer lines go to the dead letters; it bounds memory."""


def jsonl_files(uri: str) -> list[Entry]:
    """The files of the source. Raises LlmopsError when there are none."""
    entries = store_for(uri).entries(uri)
    files = [entry for entry in entries if entry.uri == uri or entry.uri.endswith(".jsonl")]
    if not files:
        found = f"holds no .jsonl file, only {len(entries)} others" if entries else "does not exist, or is empty"
        raise LlmopsError(f"source.uri {uri}: {found}; name a file of JSON lines, or a folder with *.jsonl files")
    return files


def jsonl_digest(uri: str, out: str | None = None) -> str:
    """A digest over names, sizes and contents of the files."""
    entries = jsonl_files(uri)
    return digest_over([name_below(entry.uri, uri) for entry in entries], entries, out)


def read_jsonl(source: JsonLines, view: str, pieces: Sequence[Piece] | None = None) -> Iterator[Record | Broken]:
    """A record, or what is wrong, for every line that is not blank; of all files, or of these pieces of them."""
    for piece in [Piece(entry.uri) for entry in jsonl_files(source.uri)] if pieces is None else pieces:
        name = name_below(piece.uri, source.uri)
        with piece.open() as file:
            for number, line in bounded_lines(file, MAX_LINE_BYTES, piece.first_line):
                if isinstance(line, TooLongError):
                    yield Broken(name, number, f"line is longer than {MAX_LINE_BYTES} bytes")
                elif line.strip():
                    yield read_line(line, f"{name}:{number}", source, view)


def name_below(uri: str, root: str) -> str:
    """The file as seen from the source, so that the same files elsewhere make the same rows."""
    return uri.removeprefix(root).lstrip("/") or uri.rpartition("/")[2]


def read_line(line: bytes, place: str, source: JsonLines, view: str) -> Record | Broken:
    """The record on a line. `place` is `file:number`."""
    try:
        value = json.loads(line.decode("utf-8"))
        if view == "chat":
            messages = conversation(value, source.messages_field)
            text = "\n\n".join(message.content for message in messages)
        else:
            messages, text = (), field_of(value, source.text_field, str)
        # half a surrogate pair (`"\ud800"`) is legal JSON and no legal text
        text.encode("utf-8")
    except (ValueError, RecursionError) as error:  # broken UTF-8 and JSON are ValueErrors, nesting beyond reason is not
        name, _, number = place.rpartition(":")
        return Broken(name, int(number), explain(error))
    return Record(place, text, source.licence, {}, None, messages)


def field_of(value: object, field: str, kind: type[T]) -> T:
    """The field of a JSON object. Raises ValueError when it is missing or of another type."""
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is needed, this is a {type(value).__name__}")
    if field not in value:
        raise ValueError(f"has no field {field!r}")
    found = value[field]
    if not isinstance(found, kind):
        raise ValueError(f"field {field!r} must be a {kind.__name__}, this is a {type(found).__name__}")
    return found


def conversation(value: object, field: str) -> tuple[Message, ...]:
    """The turns of a conversation. Raises ValueError when it is not one that ends with an answer."""
    messages = tuple(Message.model_validate(item) for item in field_of(value, field, list))
    roles = [message.role for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        raise ValueError(f"field {field!r} must hold user and assistant in turn and end with assistant, has {roles}")
    return messages


def explain(error: Exception) -> str:
    """What is wrong with the line, in a few words, without its content."""
    match error:
        case UnicodeDecodeError():
            return f"not UTF-8 at byte {error.start}"
        case UnicodeEncodeError():
            return "half a surrogate pair in the text"
        case json.JSONDecodeError():
            return f"not JSON: {error.msg} at character {error.pos}"
        case RecursionError():
            return "not JSON: nested too deeply"
        case ValidationError():
            first = error.errors()[0]
            return f"not a message: {'.'.join(str(name) for name in first['loc'])}: {first['msg']}"
        case _:
            return str(error)
