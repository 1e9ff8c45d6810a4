"""The table of AWS Foundational Security Best Practices and what it asserts on synthesized JSON."""

import fnmatch
from collections.abc import Iterator
from typing import Any

import yaml

from support.scan import POLICIES

Row = dict[str, Any]
Resources = dict[str, dict[str, dict[str, Any]]]


def rows() -> list[Row]:
    """The table."""
    table: list[Row] = yaml.safe_load((POLICIES / "fsbp.yaml").read_text())
    return table


def at(value: Any, path: list[str]) -> Iterator[Any]:
    """What stands at a path, in every block of a list; None where nothing does."""
    if not path:
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from at(item, path)
    elif isinstance(value, dict):
        # an argument may have a dot in its own name
        yield from at(value.get(path[0]), path[1:])
    else:
        yield None


def meets(found: Any, wanted: Any) -> bool:
    """Whether a value is what a row asks for."""
    match wanted:
        case "set":
            return found not in (None, "", [], {})
        case "absent":
            return found is None
        case {"not": other}:
            return bool(found != other)
        case {"at_least": least}:
            return isinstance(found, int) and found >= least
        case {"has": part}:
            return part in (found or "")
        case {"in": values}:
            return found in values
        case _:
            return bool(found == wanted)


def unmet(row: Row, resource: dict[str, Any]) -> list[str]:
    """The requirements a resource does not meet."""
    failed = []
    for path, wanted in row.get("require", {}).items():
        found = list(at(resource, path.split("."))) or [None]
        # a list that is asked for as a whole stands at the path itself
        if not all(meets(value, wanted) for value in found):
            failed.append(f"{path} is {found[0]!r}, not {wanted}")
    return failed


def broken(row: Row, resources: Resources) -> list[str]:
    """The resources that do not meet a row, each with what is missing."""
    found = []
    for name, resource in resources.get(row["type"], {}).items():
        if fnmatch.fnmatchcase(name, row.get("unless", "")):
            continue
        if "beside" not in row:
            found += [f"{row['control']} {row['type']}.{name}: {problem}" for problem in unmet(row, resource)]
            continue
        reference = f"${{{row['type']}.{name}."
        beside = [other for other in resources.get(row["beside"], {}).values() if reference in str(other.get(row["by"], ""))]
        problems = [unmet(row, other) for other in beside]
        if not any(not problem for problem in problems):
            found.append(f"{row['control']} {row['type']}.{name}: no {row['beside']} that meets {row['require']}; {problems}")
    return found
