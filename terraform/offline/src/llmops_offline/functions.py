"""The provider's functions: `provider::aws::arn_parse` and its companions."""

import json
from collections.abc import Callable

from llmops_offline.tfplugin5_pb2 import Function
from llmops_offline.values import Value

_ARN_PARTS = ("partition", "service", "region", "account_id", "resource")


def arn_parse(arn: str) -> dict[str, str]:
    prefix, *parts = arn.split(":", 5)
    if prefix != "arn" or len(parts) != 5:
        raise ValueError(f"not an ARN: {arn!r}")
    return dict(zip(_ARN_PARTS, parts, strict=True))


def arn_build(partition: str, service: str, region: str, account_id: str, resource: str) -> str:
    return ":".join(("arn", partition, service, region, account_id, resource))


def trim_iam_role_path(arn: str) -> str:
    parts = arn_parse(arn)
    if parts["service"] != "iam" or not parts["resource"].startswith("role/"):
        raise ValueError(f"not the ARN of an IAM role: {arn!r}")
    parts["resource"] = "role/" + parts["resource"].rpartition("/")[2]
    return arn_build(**parts)


def user_agent(product_name: str, product_version: str, comment: str) -> str:
    agent = f"{product_name}/{product_version}" if product_version else product_name
    return f"{agent} ({comment})" if comment else agent


_STRING = "string"
_FUNCTIONS: dict[str, tuple[Callable[..., Value], tuple[str, ...], object]] = {
    "arn_build": (arn_build, _ARN_PARTS, _STRING),
    "arn_parse": (arn_parse, ("arn",), ["object", dict.fromkeys(_ARN_PARTS, _STRING)]),
    "trim_iam_role_path": (trim_iam_role_path, ("arn",), _STRING),
    "user_agent": (user_agent, ("product_name", "product_version", "comment"), _STRING),
}


def signatures() -> dict[str, Function]:
    found = {}
    for name, (_, parameters, result) in _FUNCTIONS.items():
        function = found[name] = Function(summary=name)
        for parameter in parameters:
            function.parameters.add(name=parameter, type=json.dumps(_STRING).encode())
        getattr(function, "return").type = json.dumps(result).encode()
    return found


def call(name: str, arguments: list[Value]) -> Value:
    return _FUNCTIONS[name][0](*arguments)
