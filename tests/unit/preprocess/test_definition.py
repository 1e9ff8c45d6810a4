"""Facts of library entries, from source text and from live objects."""

import textwrap

import pytest

from llmops_preprocess import compiled
from llmops_preprocess.compiled import compiled_definitions
from llmops_preprocess.definition import definitions

SOURCE = '''
"""A module."""
import sys

if sys.platform == "win32":
    def place():
        """On Windows."""
else:
    def place(root="/"):
        """Elsewhere."""

def copy(src, dst=None, /, *names, follow: bool = True, **options) -> str:
    """Copy it.

    Raises a LookupError when it is gone.
    """
    def inner():
        raise KeyError
    try:
        return src
    except OSError as error:
        if follow:
            raise ValueError("no") from error
        raise error
    raise

class Box(list):
    """A box."""

    def __init__(self, size, *, lid=1):
        if size < 0:
            raise ValueError(size)

    @property
    def lid(self):
        """The lid."""
        return 1

    @lid.setter
    def lid(self, value):
        """Set the lid."""

    @staticmethod
    def empty(size=0):
        """An empty box."""

    def open(self, how):
        "One line, and code after it."
        return how

    def silent(self):
        return 0

    def _hidden(self):
        """Not for you."""

    class Lid:
        """Nested."""

class _Private:
    """Private."""
    def method(self):
        """Never looked at."""
'''


@pytest.fixture
def found():
    return list(definitions("pack.mod", SOURCE))


def test_everything_is_found_once_in_order(found):
    assert [(item.kind, item.qualified_name.removeprefix("pack.mod")) for item in found] == [
        ("module", ""),
        ("function", ".place"),
        ("function", ".place"),
        ("function", ".copy"),
        ("class", ".Box"),
        ("method", ".Box.__init__"),
        ("property", ".Box.lid"),
        ("property", ".Box.lid"),
        ("method", ".Box.empty"),
        ("method", ".Box.open"),
        ("method", ".Box.silent"),
        ("method", ".Box._hidden"),
        ("class", ".Box.Lid"),
        ("class", "._Private"),
    ]
    assert [item.name for item in found if item.is_private] == ["__init__", "_hidden", "_Private"]


def test_facts_of_a_function(found):
    copy = found[3]

    assert copy.signature == "pack.mod.copy(src, dst=None, /, *names, follow: bool=True, **options) -> str"
    assert copy.parameters == (("src", None), ("dst", "None"), ("*names", None), ("follow", "True"), ("**options", None))
    assert copy.raises == ("LookupError", "ValueError")  # not what a function inside it raises, nor a variable
    assert copy.docstring == "Copy it.\n\nRaises a LookupError when it is gone."
    assert copy.code.startswith("def copy(src, dst=None, /, *names, follow: bool = True, **options) -> str:\n    def inner():")
    assert "Copy it" not in copy.code


def test_facts_of_a_class_and_what_it_holds(found):
    box, lid, empty, opened = found[4], found[6], found[8], found[9]

    assert (box.signature, box.parameters, box.raises) == ("pack.mod.Box(size, *, lid=1)", (("size", None), ("lid", "1")), ("ValueError",))
    assert box.methods == ("empty", "open", "silent")
    assert (lid.kind, lid.signature) == ("property", None)
    assert empty.signature == "pack.mod.Box.empty(size=0)"
    assert (opened.signature, opened.code) == ("pack.mod.Box.open(how)", "def open(self, how):\n    return how")


def test_source_lines_are_counted_as_the_parser_counts_them():
    source = 'x = 1\n\x0c\ndef after_a_form_feed():\n    """It stands here."""\n    return 1\n'

    assert list(definitions("m", source))[1].code == "def after_a_form_feed():\n    return 1"


def test_a_private_module_counts_once():
    assert [item.qualified_name for item in definitions("_hidden", SOURCE)] == ["_hidden"]


def test_broken_source_is_refused():
    with pytest.raises(SyntaxError):
        list(definitions("m", textwrap.dedent("def broken(:\n  pass")))


@pytest.fixture(scope="module")
def built_in():
    return {item.qualified_name: item for item in compiled_definitions()}


def test_facts_of_what_is_written_in_c(built_in):
    chain, sorted_, get = built_in["itertools.chain"], built_in["builtins.sorted"], built_in["builtins.dict.get"]

    assert (chain.kind, chain.module) == ("class", "itertools")
    assert sorted_.signature == "builtins.sorted(iterable, /, *, key=None, reverse=False)"
    assert sorted_.parameters == (("iterable", None), ("key", "None"), ("reverse", "False"))
    assert (get.kind, get.signature) == ("method", "builtins.dict.get(key, default=None, /)")
    assert "append" in built_in["collections.deque"].methods
    assert "builtins.dict.__len__" not in built_in


def test_a_signature_that_stands_in_the_docstring_is_taken_from_it(built_in):
    pack = built_in["struct.pack"]

    assert pack.signature == "struct.pack(format, v1, v2, ...) -> bytes"
    assert pack.docstring.startswith("Return a bytes object")


def test_nothing_changes_from_run_to_run(built_in):
    shown = "\n".join(str(item) for item in built_in.values())

    assert " at 0x" not in shown
    assert shown == "\n".join(str(item) for item in {item.qualified_name: item for item in compiled_definitions()}.values())


def test_a_module_that_this_platform_lacks_is_passed_over(monkeypatch):
    monkeypatch.setattr(compiled, "MODULES", ("no_such_module", "errno"))

    assert [item.qualified_name for item in compiled_definitions()] == ["errno"]
