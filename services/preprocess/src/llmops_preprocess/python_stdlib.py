"""The source `python_stdlib`: the documentation that every Python carries with it."""

import hashlib
import importlib.util
import os
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from llmops_preprocess.compiled import compiled_definitions
from llmops_preprocess.definition import Definition, definitions
from llmops_preprocess.record import Broken, Record

LICENCE = "PSF-2.0"

# tests, other people's packages, and pip inside ensurepip are no documentation of the library
SKIPPED_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "_bundled", "__pycache__", "lib-dynload"}


def library_uri() -> str:
    """What the rows come from: the version, never a path of this machine."""
    return f"python:{platform.python_version()}"


def library_files() -> list[tuple[str, Path]]:
    """(dotted module name, path) of every Python source of the standard library, in order of their names."""
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS and not name.startswith("config-"))
        for name in names:
            if name.endswith(".py"):
                path = Path(folder) / name
                parts = path.relative_to(root).with_suffix("").parts
                found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return sorted(found)


def library_digest() -> str:
    """A digest of the library that costs milliseconds: its version, and name and size of every file."""
    listing = "\n".join(f"{module} {path.stat().st_size}" for module, path in library_files())
    return hashlib.sha256(f"{library_uri()}\n{listing}".encode()).hexdigest()


def read_library() -> Iterator[Record | Broken]:
    """A record of each module, class, function, method and topic, documented or not; a name defined twice comes twice."""
    for module, path in library_files():
        try:
            found = list(definitions(module, importlib.util.decode_source(path.read_bytes())))
        except (SyntaxError, UnicodeDecodeError) as error:
            yield Broken(f"{library_uri()}/{module}", getattr(error, "lineno", None) or 1, f"not Python: {error}")
            continue
        yield from (to_record(definition) for definition in found)
    yield from (to_record(definition) for definition in compiled_definitions())
    yield from (to_record(definition) for definition in topics())


def topics() -> Iterator[Definition]:
    """The language reference behind `help("assert")` and the like."""
    from pydoc_data.topics import topics as texts

    for name in sorted(texts):
        yield Definition("topics", f"topics.{name}", "topic", texts[name].strip())


def to_record(definition: Definition) -> Record:
    """The entry as a page, the way `help()` would show it."""
    metadata = {"module": definition.module, "qualified_name": definition.qualified_name, "kind": definition.kind}
    return Record(f"{library_uri()}/{definition.qualified_name}", page(definition), LICENCE, metadata, definition)


def page(definition: Definition) -> str:
    """Kind and name, signature, docstring."""
    if definition.kind == "topic":
        return definition.docstring
    title = f"{definition.kind} {definition.signature or definition.qualified_name}"
    return f"{title}\n\n{definition.docstring}"


def rejected(record: Record, seen: set[str]) -> str | None:
    """Why an entry is no document: hidden by its name, silent, or defined a second time (a setter, another platform's version)."""
    definition = record.definition
    assert definition is not None
    if definition.is_private:
        return "private"
    if not definition.docstring:
        return "undocumented"
    if definition.qualified_name in seen:
        return "redefined"
    seen.add(definition.qualified_name)
    return None
