"""Checks a request against the service's own model in botocore, its limits and patterns too, which botocore's client leaves to AWS."""

import base64
import re
from typing import Any


def problems(shape: Any, value: Any, where: str = "") -> list[str]:
    """What a service would refuse in a JSON value of this shape."""
    match shape.type_name:
        case "structure":
            if not isinstance(value, dict):
                return [f"{where}: no structure"]
            unknown = [f"{where}.{name}: unknown" for name in value if name not in shape.members]
            missing = [f"{where}.{name}: missing" for name in shape.required_members if name not in value]
            inner = [
                line for name in value if name in shape.members for line in problems(shape.members[name], value[name], f"{where}.{name}")
            ]
            return unknown + missing + inner
        case "list":
            if not isinstance(value, list):
                return [f"{where}: no list"]
            return outside(shape, len(value), where) + [
                line for place, item in enumerate(value) for line in problems(shape.member, item, f"{where}[{place}]")
            ]
        case "map":
            return [line for name, item in value.items() for line in problems(shape.value, item, f"{where}.{name}")]
        case "string":
            return string_problems(shape, value, where)
        case "blob":
            base64.b64decode(value, validate=True)
            return []
        case "boolean":
            return [] if isinstance(value, bool) else [f"{where}: no boolean"]
        case "integer" | "long":
            return outside(shape, value, where) if isinstance(value, int) else [f"{where}: no number"]
    return []


def string_problems(shape: Any, value: Any, where: str) -> list[str]:
    """Type, length, enumeration and pattern."""
    if not isinstance(value, str):
        return [f"{where}: no string"]
    found = outside(shape, len(value), where)
    if shape.metadata.get("enum") and value not in shape.metadata["enum"]:
        found.append(f"{where}: {value!r} is none of {shape.metadata['enum']}")
    pattern = shape.metadata.get("pattern")
    if pattern and "\\P" not in pattern and not re.fullmatch(pattern, value):
        found.append(f"{where}: {value!r} does not match {pattern}")
    return found


def outside(shape: Any, size: int, where: str) -> list[str]:
    """Whether a length or a number is out of its limits."""
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    is_out = (low is not None and size < low) or (high is not None and size > high)
    return [f"{where}: {size} is not in {low}..{high}"] if is_out else []
