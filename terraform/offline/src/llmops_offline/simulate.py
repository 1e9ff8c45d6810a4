"""Plan, apply and read resources that exist in the Terraform state only."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field

from llmops_offline.names import Names
from llmops_offline.regions import zone_ids, zones
from llmops_offline.schema import Block
from llmops_offline.values import UNKNOWN, Type, Value, encode, is_typed, is_unknown

DEFAULT_REGION = "us-east-1"


@dataclass
class Provider:
    """What one configured provider instance (or alias) contributes to its resources."""

    region: str = DEFAULT_REGION
    default_tags: dict[str, Value] = field(default_factory=dict)

    @classmethod
    def configured(cls, config: dict[str, Value]) -> "Provider":
        region = config.get("region")
        tags: dict[str, Value] = {}
        for block in config.get("default_tags") or []:
            given = block.get("tags")
            if isinstance(given, dict):
                tags.update(given)
        return cls(region if isinstance(region, str) and region else DEFAULT_REGION, tags)


def plan(block: Block, prior: Value, proposed: Value, provider: Provider) -> Value:
    """Terraform's proposal, with what AWS would decide marked as not known yet."""
    if proposed is None:
        return None
    planned = _plan_block(block, proposed, prior)
    if prior is None and is_unknown(planned.get("region")):
        planned["region"] = provider.region
    return _with_default_tags(block, planned, provider)


def _plan_block(block: Block, proposed: dict[str, Value], prior: Value) -> dict[str, Value]:
    """`prior` is what the block was before, or None if it was not there."""
    planned = dict(proposed)
    for name, attribute in block["attributes"].items():
        if attribute.get("write_only"):
            planned[name] = None
        elif attribute.get("computed") and planned[name] is None:
            planned[name] = UNKNOWN if prior is None else prior.get(name)
    for name, nested in block["blocks"].items():
        before = None if prior is None else prior.get(name)
        planned[name] = _plan_nested(nested, planned[name], before)
    return planned


def _plan_nested(nested: Block, proposed: Value, prior: Value) -> Value:
    inner = nested["block"]
    if proposed is None or is_unknown(proposed) or is_typed(proposed):
        return proposed
    if nested["nesting"] == "single":
        return _plan_block(inner, proposed, prior)
    if nested["nesting"] == "map":
        return {key: _plan_block(inner, v, (prior or {}).get(key)) for key, v in proposed.items()}
    remaining = list(prior or [])
    planned = []
    for index, item in enumerate(proposed):
        if is_unknown(item):
            planned.append(item)
            continue
        if nested["nesting"] == "list":
            before = remaining[index] if index < len(remaining) else None
        else:
            before = next((other for other in remaining if _same(inner, item, other)), None)
            if before is not None:
                remaining.remove(before)
        planned.append(_plan_block(inner, item, before))
    return planned


def _same(block: Block, proposed: dict[str, Value], prior: dict[str, Value]) -> bool:
    """Whether two members of a set agree in all that the configuration says of them."""
    for name, attribute in block["attributes"].items():
        left_open = attribute.get("computed") and proposed[name] is None
        if not left_open and proposed[name] != prior[name]:
            return False
    for name, nested in block["blocks"].items():
        mine, theirs = proposed[name], prior[name]
        if nested["nesting"] in ("single", "map") or is_unknown(mine) or is_typed(mine):
            if mine != theirs:
                return False
        elif len(mine) != len(theirs) or not all(any(_same(nested["block"], item, other) for other in theirs) for item in mine):
            return False
    return True


def _with_default_tags(block: Block, planned: dict[str, Value], provider: Provider) -> Value:
    if not {"tags", "tags_all"} <= block["attributes"].keys():
        return planned
    tags = planned["tags"]
    if is_unknown(tags):
        return {**planned, "tags_all": UNKNOWN}
    return {**planned, "tags_all": {**provider.default_tags, **(tags or {})}}


def _each(nested: Block, value: Value, names: Names) -> Value:
    """The value of a nested block with all of its instances complete."""
    if value is None or is_unknown(value) or is_typed(value):
        return value
    if nested["nesting"] == "single":
        return _completed(nested["block"], value, names)
    if nested["nesting"] == "map":
        return {key: _completed(nested["block"], item, names) for key, item in value.items()}
    return [_completed(nested["block"], item, names) for item in value]


def _completed(block: Block, item: Value, names: Names) -> Value:
    if is_unknown(item):
        return item
    state = dict(item)
    _complete(block, state, names)
    return state


class Maker:
    """Gives every value that AWS would decide one that is made up."""

    def __init__(self) -> None:
        self._made: Counter[str] = Counter()

    def seed(self, type_name: str, arguments: Value) -> str:
        """The same arguments give the same values; a second such resource gets others."""
        digest = hashlib.sha256(type_name.encode() + encode(arguments)).hexdigest()
        self._made[digest] += 1
        return f"{digest}/{self._made[digest]}"

    def apply(self, block: Block, type_name: str, planned: Value, provider: Provider) -> Value:
        if planned is None:
            return None
        state = dict(planned)
        region = state.get("region")
        names = Names(
            type_name,
            state,
            region if isinstance(region, str) else provider.region,
            self.seed(type_name, planned),
        )
        _complete(block, state, names)
        if type_name == "aws_cloudformation_stack":
            state["outputs"] = _stack_outputs(state, names)
        return state

    def read(self, block: Block, type_name: str, config: dict[str, Value], provider: Provider) -> dict[str, Value]:
        """A data source: every output that its arguments leave open is made up."""
        state = dict(config)
        region = state.get("region")
        names = Names(
            type_name,
            state,
            region if isinstance(region, str) else provider.region,
            hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest(),
        )
        attributes = block["attributes"]
        for name in sorted(attributes, key=lambda name: _rank(name, names)):
            if state[name] is None and attributes[name].get("computed"):
                state[name] = make(attributes[name]["type"], name, names, False)
        return state


def _stack_outputs(state: dict[str, Value], names: Names) -> dict[str, str]:
    """A value for each output that the template of a CloudFormation stack declares."""
    try:
        template = json.loads(state.get("template_body") or "{}")
    except ValueError:
        return {}  # YAML, which CloudFormation reads as well
    return {name: names.hex(26, name) for name in template.get("Outputs", {})}


def _rank(name: str, names: Names) -> tuple[int, str]:
    """Names first, then the id and the ARN, which the rest may be made from."""
    if name in ("name", "bucket", f"{names.kind}_name") or name.endswith("identifier"):
        return (0, name)
    return ({"id": 1, "arn": 2}.get(name, 3), name)


def _complete(block: Block, state: dict[str, Value], names: Names) -> None:
    """Makes up, in place, what is not known yet."""
    attributes = block["attributes"]
    for name in sorted(attributes, key=lambda name: _rank(name, names)):
        if is_unknown(state[name]):
            state[name] = make(attributes[name]["type"], name, names, attributes[name].get("optional", False))
        elif isinstance(state[name], dict | list):
            state[name] = _settle(attributes[name]["type"], state[name], name, names)
    for name, nested in block["blocks"].items():
        state[name] = _each(nested, state[name], names)


def _settle(type_: Type, value: Value, name: str, names: Names) -> Value:
    """Replace unknown members within a known collection."""
    if is_unknown(value):
        return make(type_, name, names, False)
    if isinstance(type_, str) or value is None:
        return value
    kind, inner = type_
    if kind == "object":
        return {key: _settle(inner[key], item, key, names) for key, item in value.items()}
    if kind == "map":
        return {key: _settle(inner, item, key, names) for key, item in value.items()}
    return [_settle(inner, item, name, names) for item in value]


def make(type_: Type, name: str, names: Names, given: bool) -> Value:
    """Make up a value. `given` marks an argument that was left out, rather than an output."""
    if type_ == "string":
        return names.attribute(name, given)
    if type_ == "number":
        return _number(name, names)
    if type_ == "bool":
        return name == "enabled" and not given
    if type_ == "dynamic":
        return None
    kind, inner = type_
    if kind == "object":
        return {key: make(member, key, names, given) for key, member in inner.items()}
    if kind == "map":
        return {}
    if inner == "string" and name in ("availability_zones", "zone_names"):
        return zones(names.region)
    if inner == "string" and name in ("availability_zone_ids", "zone_ids"):
        return zone_ids(names.region)
    if given:
        return []
    if inner == "string":
        return [_element(name, names)]
    return [make(inner, name, names, given)]


def _element(name: str, names: Names) -> str:
    singular = name.removesuffix("es") if name.endswith("sses") else name.removesuffix("s")
    if singular == "id":
        return names.id()
    return names.attribute(singular) if singular != name else names.attribute(name)


def _number(name: str, names: Names) -> int:
    if name == "port" or name.endswith("_port"):
        engine = names.text("engine") or ""
        if "postgres" in engine:
            return 5432
        return 3306 if "mysql" in engine or "maria" in engine else 443
    return 1 if name.endswith("version") else 0
