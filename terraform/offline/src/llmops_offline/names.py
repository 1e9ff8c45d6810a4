"""Ids, ARNs and other values that AWS would decide, made up but well shaped.

Values are deterministic: the same resource with the same arguments gets the same ones.
"""

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llmops_offline import aws_shapes as shapes
from llmops_offline.regions import dns_suffix, partition, zone_ids, zones


@dataclass
class Names:
    """Generated names for one resource or data source instance."""

    type_name: str
    arguments: Mapping[str, Any]
    region: str
    seed: str

    def hex(self, digits: int, salt: str = "") -> str:
        text = f"{self.type_name}\n{self.seed}\n{salt}".encode()
        return hashlib.sha256(text).hexdigest()[:digits]

    def uuid(self, salt: str = "") -> str:
        return str(uuid.UUID(self.hex(32, salt)))

    def text(self, name: str) -> str | None:
        value = self.arguments.get(name)
        return value if isinstance(value, str) and value else None

    @property
    def kind(self) -> str:
        """The type without the provider and the service: `mlflow_tracking_server`."""
        bare = self.type_name.removeprefix("aws_")
        return bare.partition("_")[2] or bare

    @property
    def service(self) -> str:
        bare = self.type_name.removeprefix("aws_")
        if bare in shapes.EC2_RESOURCES:
            return "ec2"
        first = bare.partition("_")[0]
        return shapes.SERVICES.get(first, first)

    def given_name(self) -> str | None:
        """The name the configuration gave, if there is one."""
        last = self.kind.rpartition("_")[2]
        own = (f"{self.kind}_name", f"{self.kind}_identifier", f"{last}_name")
        for argument in (*own, *shapes.NAME_ARGUMENTS):
            if value := self.text(argument):
                return value
        return None

    def name(self, attribute: str = "name") -> str:
        for prefix in (f"{attribute}_prefix", "name_prefix"):
            if value := self.text(prefix):
                return value + "20240101" + self.hex(18, attribute).translate(_DIGITS)
        return f"terraform-{self.hex(12, attribute)}"

    def id(self) -> str:
        if self.type_name in shapes.ID_PREFIXES:
            return f"{shapes.ID_PREFIXES[self.type_name]}-{self.hex(17)}"
        if self.type_name in shapes.UUID_IDS:
            return self.uuid()
        if self.type_name in shapes.ARN_IDS:
            return self.text("arn") or self.arn()
        if self.type_name in shapes.COMPOSED_IDS:
            return shapes.COMPOSED_IDS[self.type_name].format_map(_Fields(self))
        return self.given_name() or self.hex(20)

    def arn(self) -> str:
        fields = _Fields(self)
        prefix = f"arn:{partition(self.region)}:"
        if self.type_name == "aws_sns_topic_subscription" and self.text("topic_arn"):
            return f"{self.text('topic_arn')}:{self.uuid()}"
        if template := shapes.ARNS.get(self.type_name):
            return prefix + template.format_map(fields)
        bare = self.type_name.removeprefix("aws_")
        kind = (bare if bare in shapes.EC2_RESOURCES else self.kind).replace("_", "-")
        own = self.text("id") or (None if self.type_name in shapes.ARN_IDS else self.id())
        name = own or self.given_name() or self.hex(20)
        return f"{prefix}{self.service}:{self.region}:{shapes.ACCOUNT}:{kind}/{name}"

    def named_arn(self, attribute: str) -> str:
        kind = attribute.removesuffix("_arn").removesuffix("_arns").replace("_", "-")
        return f"arn:{partition(self.region)}:{self.service}:{self.region}:{shapes.ACCOUNT}:{kind}/{self.hex(17, attribute)}"

    def attribute(self, attribute: str, given: bool = False) -> str:
        """A value for a string attribute; `given` marks an argument left out, not an output."""
        if template := shapes.ATTRIBUTES.get((self.type_name, attribute)):
            return template.format_map(_Fields(self))
        if attribute in _EXACT:
            return _EXACT[attribute](self)
        if attribute in (*shapes.NAME_ARGUMENTS, f"{self.kind}_name"):
            return self.reference(attribute) if attribute.endswith(("_id", "_arn")) else self.name(attribute)
        if given and not attribute.endswith(("_arn", "_id", *_TIMES)):
            return ""
        for endings, make in _ENDINGS:
            if attribute.endswith(endings):
                return make(self, attribute)
        return f"{attribute.replace('_', '-')}-{self.hex(8, attribute)}"

    def reference(self, attribute: str) -> str:
        subject = attribute.removesuffix("_id")
        if subject in (self.kind, "resource"):
            return self.text("id") or self.id()
        for known, prefix in shapes.ATTRIBUTE_PREFIXES.items():
            if subject == known or subject.endswith("_" + known):
                return f"{prefix}-{self.hex(17, attribute)}"
        return self.hex(20, attribute)

    def host(self, label: str = "") -> str:
        name = (self.given_name() or self.hex(12)).rpartition("/")[2].lower()
        scope = f"{self.region}.{self.service}.{dns_suffix(self.region)}"
        return f"{label}{'.' if label else ''}{name}.{self.hex(12, 'host')}.{scope}"

    def unique_id(self) -> str:
        return {"aws_iam_role": "AROA", "aws_iam_user": "AIDA"}.get(self.type_name, "") + self.hex(17).upper()

    def secret_arn(self) -> str:
        scope = f"{partition(self.region)}:secretsmanager:{self.region}:{shapes.ACCOUNT}"
        return f"arn:{scope}:secret:simulated-{self.hex(36, 'secret')}-{self.hex(6)}"

    def address(self) -> str:
        return f"10.0.{int(self.hex(2), 16)}.{int(self.hex(2, 'ip'), 16) % 250 + 4}"


_DIGITS = str.maketrans("abcdef", "012345")
_TIMES = ("_time", "_date", "_at", "_timestamp", "_on")


def _each(attributes: str, make: Callable[[Names], str]) -> dict[str, Callable[[Names], str]]:
    return dict.fromkeys(attributes.split(), make)


_EXACT: dict[str, Callable[[Names], str]] = {
    "id": Names.id,
    "arn": Names.arn,
    "description": lambda names: "",
    **_each("owner_id account_id registry_id owner aws_account_id", lambda names: shapes.ACCOUNT),
    **_each("region bucket_region region_name", lambda names: names.region),
    "partition": lambda names: partition(names.region),
    "availability_zone": lambda names: zones(names.region)[0],
    **_each("availability_zone_id az_id", lambda names: zone_ids(names.region)[0]),
    "unique_id": Names.unique_id,
    **_each("status state", lambda names: "ACTIVE"),
    **_each("etag version_id fingerprint revision_id", lambda names: names.hex(32)),
    **_each("policy json assume_role_policy content", lambda names: '{"Version":"2012-10-17","Statement":[]}'),
    "cidr_block": lambda names: "10.0.0.0/16",
    "secret_arn": Names.secret_arn,
}
# the first ending that fits decides
_ENDINGS: tuple[tuple[str | tuple[str, ...], Callable[[Names, str], str]], ...] = (
    ("_prefix", lambda names, attribute: ""),
    (_TIMES, lambda names, attribute: shapes.TIMESTAMP),
    ("_arn", lambda names, attribute: names.named_arn(attribute)),
    ("_id", lambda names, attribute: names.reference(attribute)),
    (("_ip", "ip_address"), lambda names, attribute: names.address()),
    (("_url", "_uri", "url", "uri"), lambda names, attribute: "https://" + names.host()),
    (shapes.HOST_ATTRIBUTES, lambda names, attribute: names.host(attribute.partition("_")[0] if "_" in attribute else "")),
    ("version", lambda names, attribute: "1"),
)


class _Fields(dict[str, str]):
    """The fields of an id or ARN template, found among the arguments or made up."""

    def __init__(self, names: Names) -> None:
        super().__init__()
        self.names = names

    def __missing__(self, key: str) -> str:
        if value := self.names.text(key):
            return value
        if key in _FIELDS:
            return _FIELDS[key](self.names)
        digits = key.removeprefix("hex")
        return self.names.hex(int(digits) if digits.isdigit() else 12, key)


def _bus(names: Names) -> str:
    return names.text("event_bus_name") or "default"


_FIELDS: dict[str, Callable[[Names], str]] = {
    "region": lambda names: names.region,
    "account": lambda names: shapes.ACCOUNT,
    "partition": lambda names: partition(names.region),
    "arn": Names.arn,
    "suffix": lambda names: dns_suffix(names.region),
    "path": lambda names: "/",
    "bus": _bus,
    "rule_path": lambda names: "" if _bus(names) == "default" else f"{_bus(names)}/",
    "bare_name": lambda names: (names.text("name") or names.name()).lstrip("/"),
    "oidc_host": lambda names: (names.text("url") or "example.com").removeprefix("https://"),
    "uuid": Names.uuid,
    "tail6": lambda names: names.hex(6, "tail"),
    "id": Names.id,
    "name": lambda names: names.given_name() or names.name(),
}
