"""Library entries written in C, which have no source to parse: read from the live objects with `inspect`."""

import contextlib
import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from llmops_preprocess.definition import DOCUMENTED_RAISE, Definition, Kind

# Modules that are written in C, or get public names from a C module beside them. Each imports without a side effect on
# any platform that has it; `readline` (terminal), `nis`, `spwd`, `audioop`, `ossaudiodev` (deprecation warnings) do not.
MODULES = (
    "array", "asyncio", "atexit", "binascii", "bisect", "builtins", "bz2", "cmath", "codecs", "collections", "contextvars", "csv",
    "datetime", "decimal", "errno", "faulthandler", "fcntl", "functools", "gc", "grp", "hashlib", "heapq", "io", "itertools", "json",
    "locale", "lzma", "marshal", "math", "mmap", "operator", "os", "pickle", "pwd", "queue", "random", "re", "resource", "select",
    "signal", "socket", "sqlite3", "ssl", "statistics", "string", "struct", "symtable", "sys", "syslog", "termios", "threading",
    "time", "tracemalloc", "types", "unicodedata", "uuid", "warnings", "weakref", "zlib",
)  # fmt: skip

# public module -> C modules with other names that its own come from
HIDDEN = {"os": ("posix", "nt"), "threading": ("thread",)}


def compiled_definitions() -> Iterator[Definition]:
    """Modules written in C with all they hold, and the C names of modules that are written in Python."""
    for name in MODULES:
        with contextlib.suppress(ModuleNotFoundError):  # not on this platform: `resource` on Windows, for example
            yield from module_definitions(importlib.import_module(name))


def module_definitions(module: ModuleType) -> Iterator[Definition]:
    """The module itself when it has no Python source, then its public C functions and classes, in order of their names."""
    name = module.__name__
    if not getattr(module, "__file__", "").endswith(".py"):
        yield Definition(name, name, "module", inspect.getdoc(module) or "")
    for member in sorted(getattr(module, "__all__", None) or dir(module)):
        item = getattr(module, member, None)
        if inspect.isbuiltin(item) and belongs(item, name):
            yield function(item, name, f"{name}.{member}", "function")
        elif inspect.isclass(item) and belongs(item, name) and is_compiled(item) and item.__name__ == member:
            yield from class_definitions(item, name, f"{name}.{member}")


def belongs(item: Any, module: str) -> bool:
    """Whether it is at home in this module, or in the hidden C module behind it."""
    home = (item.__module__ or "").split(".")[0].lstrip("_")
    return home == module or home in HIDDEN.get(module, ())


def is_compiled(item: type) -> bool:
    """Whether a class has no Python source."""
    return not any(inspect.isfunction(member) for member in vars(item).values())


def class_definitions(item: type, module: str, name: str) -> Iterator[Definition]:
    """A class and its own public methods; what it inherits is documented where it is defined."""
    own = {key: member for key, member in vars(item).items() if not key.startswith("_")}
    methods = tuple(key for key, member in own.items() if callable(member) or isinstance(member, classmethod | staticmethod))
    signature, parameters, docstring = facts(item, name)
    yield Definition(module, name, "class", docstring, signature, parameters, documented_raises(docstring), methods)
    for key in own:
        yield function(getattr(item, key), module, f"{name}.{key}", "method" if key in methods else "property")


def function(item: Any, module: str, name: str, kind: Kind) -> Definition:
    """The definition of a C function, method or attribute."""
    if kind == "property":
        return Definition(module, name, "property", own_docstring(item))
    signature, parameters, docstring = facts(item, name)
    return Definition(module, name, kind, docstring, signature, parameters, documented_raises(docstring))


Facts = tuple[str | None, tuple[tuple[str, str | None], ...], str]


def facts(item: Any, name: str) -> Facts:
    """Signature, parameters and the rest of the docstring; old C code writes the signature as the docstring's first line."""
    docstring = own_docstring(item)
    try:
        signature = inspect.signature(item)
    except (ValueError, TypeError):
        return from_docstring(docstring, name)
    parameters = [value for key, value in signature.parameters.items() if key not in ("self", "type", "cls")]
    shown = str(signature.replace(parameters=parameters))
    if " at 0x" in shown:  # a default whose text is a memory address, another one in each run
        return None, (), docstring
    return f"{name}{shown}", tuple(parameter(value) for value in parameters), docstring


def own_docstring(item: Any) -> str:
    """Its docstring, unless it is the one of its type."""
    docstring = inspect.getdoc(item)
    return "" if docstring is None or docstring == inspect.getdoc(type(item)) else docstring


def from_docstring(docstring: str, name: str) -> Facts:
    """`print(value, ..., sep=' ') -> None` at the start of a docstring, and what comes after it."""
    first, _, rest = docstring.partition("\n")
    match = re.match(rf"(?:\w+\.)*{re.escape(name.rpartition('.')[2])}(\(.*?\)(?:\s*->\s*[^.]*)?)(?=\s*(?:--|$))", first)
    if match is None or not rest.strip():
        return None, (), docstring
    return f"{name}{match[1].strip()}", (), rest.strip()


def parameter(value: inspect.Parameter) -> tuple[str, str | None]:
    """Name with its stars, and the default as it is written."""
    default = None if value.default is inspect.Parameter.empty else repr(value.default)
    return str(value.replace(annotation=inspect.Parameter.empty, default=inspect.Parameter.empty)), default


def documented_raises(docstring: str) -> tuple[str, ...]:
    """Exceptions the docstring says it raises."""
    return tuple(sorted(set(DOCUMENTED_RAISE.findall(docstring))))
