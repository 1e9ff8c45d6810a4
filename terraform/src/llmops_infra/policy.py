"""Policy documents, statement by statement, as they stand in AWS."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Statement = dict[str, Any]
Conditions = Mapping[str, Mapping[str, str | Sequence[str]]]


def document(*statements: Statement) -> str:
    """The JSON of a policy."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(
    sid: str, actions: Sequence[str], resources: Sequence[str] = (), conditions: Conditions | None = None, principal: Any = None
) -> Statement:
    """What is allowed. A policy of a role names resources, one of a resource names its principal."""
    return statement("Allow", sid, actions, resources, conditions, principal)


def deny(
    sid: str, actions: Sequence[str], resources: Sequence[str], conditions: Conditions | None = None, principal: Any = None
) -> Statement:
    """What is denied whatever else allows it."""
    return statement("Deny", sid, actions, resources, conditions, principal)


def statement(
    effect: str, sid: str, actions: Sequence[str], resources: Sequence[str], conditions: Conditions | None, principal: Any
) -> Statement:
    """One statement, without the keys that do not apply."""
    parts = {"Principal": principal, "Action": list(actions), "Resource": list(resources), "Condition": conditions}
    return {"Sid": sid, "Effect": effect, **{key: value for key, value in parts.items() if value}}


def by_service(*services: str) -> dict[str, list[str]]:
    """The principal of AWS services, named by the first part of their host name."""
    return {"Service": [f"{service}.amazonaws.com" for service in services]}


def pass_role(roles: Sequence[str], *services: str) -> Statement:
    """Hand exactly these roles to exactly these services."""
    return allow("PassRole", ["iam:PassRole"], roles, {"StringEquals": {"iam:PassedToService": by_service(*services)["Service"]}})
