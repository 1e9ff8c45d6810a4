"""Terraform values on the wire: MessagePack, with unknown values as extension types."""

import json
from typing import Any

import msgpack

Value = Any
Type = Any

UNKNOWN = msgpack.ExtType(0, b"\x00")


def is_unknown(value: Value) -> bool:
    return isinstance(value, msgpack.ExtType)


def wholly_known(value: Value) -> bool:
    if is_unknown(value):
        return False
    if isinstance(value, dict):
        return all(wholly_known(member) for member in value.values())
    if isinstance(value, list):
        return all(wholly_known(member) for member in value)
    return True


def is_dynamic(type_: Type) -> bool:
    """Whether values of the type carry their own type along, wholly or in part."""
    if isinstance(type_, str):
        return type_ == "dynamic"
    if type_[0] == "object":
        return any(is_dynamic(member) for member in type_[1].values())
    return is_dynamic(type_[1])


def is_typed(value: Value) -> bool:
    """Whether the value is a pair of a type and a value of that type."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], bytes)


def decode(data: bytes) -> Value:
    return msgpack.unpackb(data, raw=False, strict_map_key=False) if data else None


def encode(value: Value) -> bytes:
    return msgpack.packb(value, use_bin_type=True)


def conform(type_: Type, value: Value, blocks: dict[str, Any] | None = None) -> Value:
    """Shape a JSON-decoded value after a type; unset nested blocks become empty collections."""
    if type_ == "dynamic" and value is not None:
        # JSON states carry such a value with its type beside it, MessagePack as a pair.
        return [json.dumps(value["type"]).encode(), conform(value["type"], value["value"])]
    if isinstance(type_, str) or value is None:
        return value
    kind, inner = type_[:2]
    if kind == "tuple":
        return [conform(member, item) for member, item in zip(inner, value, strict=True)]
    if kind == "object":
        shaped = {}
        for name, member in inner.items():
            nested = (blocks or {}).get(name)
            item = value.get(name) if isinstance(value, dict) else None
            if item is None and nested is not None and member[0] in ("list", "set", "map"):
                item = {} if member[0] == "map" else []
            shaped[name] = conform(member, item, nested)
        return shaped
    if kind == "map":
        return {key: conform(inner, item, blocks) for key, item in value.items()}
    return [conform(inner, item, blocks) for item in value]
