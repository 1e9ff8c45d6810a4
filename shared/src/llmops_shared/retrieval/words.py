"""Splits text into words for retrieval, so that `copytree`, `shutil.copytree` and "copy tree" find each other."""

import re
from functools import lru_cache

# a name with its dots: shutil.copytree, os.path, HTTPServer, __init__
NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*|\d+")
# the words inside one name: HTTPServer -> HTTP, Server; read2bytes -> read, bytes
INNER = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

# What a question is made of besides its subject. Words that are also Python (`is`, `in`, `for`, `with`) stay.
QUESTION_WORDS = frozenset(
    "a an the of to what which who how when where why does do did can could should would i you we it its me my "  # noqa: SIM905
    "please explain tell about give show describe are was were be been this that these those there".split()
)


def words(text: str) -> list[str]:
    """The words of a text, lower case: each dotted name whole, each of its steps, and the words inside a step."""
    return [word for name in NAME.findall(text) for word in parts(name)]


@lru_cache(maxsize=1 << 17)  # most of a text is names that occurred before
def parts(name: str) -> tuple[str, ...]:
    """`os.path.joinAll` gives `os.path.joinall`, `os`, `path`, `joinall`, `join`, `all`; what only asks is left out."""
    steps = name.split(".")
    found = [name.lower()] if len(steps) > 1 else []
    for step in steps:
        whole = step.lower()
        found.append(whole)
        inner = [word.lower() for word in INNER.findall(step)] if step.isascii() else []
        if len(inner) > 1:
            found += inner
        elif inner and inner[0] != whole:
            found.append(inner[0])
    return tuple(word for word in found if word not in QUESTION_WORDS)
