"""The `aws_iam_policy_document` data source, which is computed and not looked up."""

import json
import re
from typing import Any

from llmops_offline.values import Value

Statement = dict[str, Any]

_VERSION = "2012-10-17"


def render(config: dict[str, Value]) -> str:
    statements: list[Statement] = []
    version, policy_id = config.get("version"), config.get("policy_id")
    for text in config.get("source_policy_documents") or []:
        document = _parse(text)
        version = version or document.get("Version")
        policy_id = policy_id or document.get("Id")
        for statement in _listed(document.get("Statement")):
            sid = statement.get("Sid")
            if sid and any(other.get("Sid") == sid for other in statements):
                raise ValueError(f"duplicate Sid {sid!r} in source_policy_documents")
            statements.append(statement)
    own: set[str] = set()
    for block in config.get("statement") or []:
        statement = _statement(block, version or _VERSION)
        sid = statement.get("Sid")
        if sid and sid in own:
            raise ValueError(f"duplicate Sid {sid!r}: remove it or make it unique")
        own.add(sid or "")
        _merge(statements, statement)
    for text in config.get("override_policy_documents") or []:
        document = _parse(text)
        policy_id = document.get("Id") or policy_id
        for statement in _listed(document.get("Statement")):
            _merge(statements, statement)
    policy: dict[str, Any] = {"Version": version or _VERSION}
    if policy_id:
        policy["Id"] = policy_id
    if statements:
        policy["Statement"] = statements
    return dump(policy, indent=2)


def dump(policy: Any, indent: int | None = None) -> str:
    separators = None if indent else (",", ":")
    text = json.dumps(policy, indent=indent, separators=separators, ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _parse(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        document: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"a merged policy document is not JSON: {error}") from error
    return document


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _merge(statements: list[Statement], statement: Statement) -> None:
    sid = statement.get("Sid")
    for index, other in enumerate(statements):
        if sid and other.get("Sid") == sid:
            statements[index] = statement
            return
    statements.append(statement)


def _statement(block: dict[str, Value], version: str) -> Statement:
    statement: Statement = {}
    if block.get("sid"):
        statement["Sid"] = block["sid"]
    statement["Effect"] = block.get("effect") or "Allow"
    for key, argument in (
        ("Action", "actions"),
        ("NotAction", "not_actions"),
        ("Resource", "resources"),
        ("NotResource", "not_resources"),
    ):
        if block.get(argument):
            statement[key] = _strings(block[argument], version)
    for key, argument in (("Principal", "principals"), ("NotPrincipal", "not_principals")):
        if block.get(argument):
            statement[key] = _principals(block[argument], version)
    if block.get("condition"):
        statement["Condition"] = _conditions(block["condition"], version)
    return statement


def _variables(text: str, version: str) -> str:
    if version == "2008-10-17" and "&{" in text:
        raise ValueError(f"policy variables need version {_VERSION}: {text!r}")
    return re.sub(r"&\{", "${", text)


def _strings(given: list[str], version: str) -> Any:
    found = sorted((_variables(text, version) for text in given), reverse=True)
    return found[0] if len(found) == 1 else found


def _principals(blocks: list[dict[str, Value]], version: str) -> Any:
    gathered: dict[str, list[str]] = {}
    for block in blocks:
        gathered.setdefault(block["type"], []).extend(block["identifiers"])
    if gathered == {"*": ["*"]}:
        return "*"
    return {kind: _strings(gathered[kind], version) for kind in sorted(gathered)}


def _conditions(blocks: list[dict[str, Value]], version: str) -> Any:
    gathered: dict[str, dict[str, list[str]]] = {}
    for block in blocks:
        values = gathered.setdefault(block["test"], {}).setdefault(block["variable"], [])
        values.extend(_variables(value, version) for value in block["values"])
    return {
        test: {variable: values[0] if len(values) == 1 else values for variable, values in sorted(variables.items())}
        for test, variables in sorted(gathered.items())
    }
