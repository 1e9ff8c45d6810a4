"""AWS's own rules for a request, as botocore's model has them: types, required members, lengths, patterns, enumerations."""

from typing import Any

import boto3
import regex  # the patterns have Unicode classes, which `re` lacks
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape
from botocore.validate import ParamValidator


def complaints(service: str, operation: str, request: dict[str, Any]) -> list[str]:
    """What the service would refuse about a request."""
    model = boto3.client(service, region_name="eu-west-1").meta.service_model
    shape = model.operation_model(operation).input_shape
    report = ParamValidator().validate(request, shape)
    return [*(report.generate_report().splitlines()), *broken(shape, request, operation)]


def broken(shape: Shape, value: Any, where: str) -> list[str]:
    """Lengths, patterns and enumerations that a value breaks, which botocore leaves to the service."""
    match shape:
        case StructureShape():
            return [
                line for key, one in value.items() if key in shape.members for line in broken(shape.members[key], one, f"{where}.{key}")
            ]
        case ListShape():
            return [*sized(shape, len(value), where), *(line for one in value for line in broken(shape.member, one, where))]
        case MapShape():
            return [*sized(shape, len(value), where), *(line for one in value.values() for line in broken(shape.value, one, where))]
        case StringShape():
            pattern, allowed = shape.metadata.get("pattern"), shape.metadata.get("enum")
            lines = sized(shape, len(value), f"{where} {value[:60]!r}")
            lines += (
                [f"{where}: {value!r} does not match {pattern}"] if pattern and not regex.fullmatch(pattern, value, regex.DOTALL) else []
            )
            return lines + ([f"{where}: {value!r} is none of {allowed}"] if allowed and value not in allowed else [])
    return []


def sized(shape: Shape, size: int, where: str) -> list[str]:
    """A length out of bounds."""
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max", size)
    return [] if low <= size <= high else [f"{where}: length {size} is not within {low} and {high}"]
