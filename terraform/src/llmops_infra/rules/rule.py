"""What a rule is, and how it reads a resource of synthesized JSON."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Block = dict[str, Any]
Problem = Callable[[Block], str | None]


class Rule(NamedTuple):
    """One rule."""

    id: str
    """Its id, as in checkov's reports and in terraform/policies/skips.yaml."""
    title: str
    """What holds where it passes."""
    types: tuple[str, ...]
    """Resource types it looks at."""
    problem: Problem
    """What is wrong with a resource, or None."""


RULES: list[Rule] = []


def rule(id: str, title: str, *types: str) -> Callable[[Problem], Problem]:
    """Makes a function a rule."""

    def add(problem: Problem) -> Problem:
        RULES.append(Rule(id, title, types, problem))
        return problem

    return add


def blocks(resource: Block, name: str) -> list[Block]:
    """The nested blocks of a name, which may be written as one object or as a list."""
    value = resource.get(name)
    if value is None:
        return []
    return [block for block in (value if isinstance(value, list) else [value]) if isinstance(block, dict)]


def nested(resource: Block, *names: str) -> Block:
    """The first block at the end of a path; empty where there is none."""
    block = resource
    for name in names:
        block = next(iter(blocks(block, name)), {})
    return block


def document(resource: Block, attribute: str) -> Any:
    """A JSON document among the arguments; None where it is missing or no JSON."""
    text = resource.get(attribute)
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return None


def statements(resource: Block, attribute: str = "policy") -> list[Block]:
    """The statements of a policy."""
    policy = document(resource, attribute)
    return blocks(policy, "Statement") if isinstance(policy, dict) else []


def texts(value: Any) -> list[str]:
    """A text or a list of texts as a list."""
    return [value] if isinstance(value, str) else [text for text in value or [] if isinstance(text, str)]


def everybody(principal: Any) -> bool:
    """Whether a principal is anyone."""
    return "*" in texts(principal) or (isinstance(principal, dict) and any("*" in texts(value) for value in principal.values()))


def condition_keys(statement: Block) -> Iterator[str]:
    """The keys a statement's conditions ask for, in lower case."""
    for test in (statement.get("Condition") or {}).values():
        yield from (key.lower() for key in test)
