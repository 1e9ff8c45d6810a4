"""Derives the schema of the AWS provider from its CDK for Terraform bindings, but for a few points that those drop (README.md)."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

from llmops_offline.javascript import NESTED, JavaScript, Member, sources
from llmops_offline.values import is_dynamic
from llmops_shared.errors import LlmopsError

Json = Any

_MAPPED_BLOCK = re.compile(r"^cdk\w+\.(?:list|hash)Mapper(?:Hcl)?\((\w+?)To(?:Hcl)?Terraform(?:, (true|false))?\)")
_PLAIN_BLOCK = re.compile(r"^(\w+?)To(?:Hcl)?Terraform\(")
_TYPE_NAME = re.compile(r'static tfResourceType = "(\w+)"')
_VERSION = re.compile(r"providerVersion: '([\d.]+)'")

_SCALARS = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}
_GETTERS = {
    "getStringAttribute": "string",
    "getNumberAttribute": "number",
    "getBooleanAttribute": "bool",
    "getListAttribute": ["list", "string"],
    "getNumberListAttribute": ["list", "number"],
    "getStringMapAttribute": ["map", "string"],
    "getNumberMapAttribute": ["map", "number"],
    "getBooleanMapAttribute": ["map", "bool"],
    "getAnyMapAttribute": ["map", "dynamic"],
}
_MAP_CLASSES = {
    "StringMap": "string",
    "NumberMap": "number",
    "BooleanMap": "bool",
    "AnyMap": "dynamic",
}

# Sensitivity is not part of the bindings: arguments and outputs known to be secret.
_SENSITIVE = {
    "access_token",
    "admin_user_password",
    "auth_password",
    "auth_token",
    "basic_auth_credentials",
    "client_secret",
    "customer_key",
    "fsx_admin_password",
    "hsm_partition_password",
    "key_material_base64",
    "master_password",
    "master_user_password",
    "oauth_token",
    "password",
    "plaintext",
    "private_key",
    "private_key_pem",
    "sasl_password",
    "secret_access_key",
    "secret_binary",
    "secret_string",
    "ses_smtp_password_v4",
    "ssl_client_key_password",
    "svm_admin_password",
    "temporary_password",
    "tunnel1_preshared_key",
    "tunnel2_preshared_key",
}
_SENSITIVE_IN = {
    ("aws_ecr_authorization_token", "authorization_token"),
    ("aws_eks_cluster_auth", "token"),
    ("aws_iam_access_key", "secret"),
    ("aws_mwaa_environment", "airflow_configuration_options"),
    ("aws_ssm_parameter", "value"),
}
# The bindings let a few statements nest without end; the provider stops at some depth.
_MAX_RECURSION = 2


class _Reader:
    """Turns one module's classes into a schema block."""

    def __init__(self, module: JavaScript, type_name: str):
        self.module = module
        self.type_name = type_name

    def block(self, key: str, cls: str, outer: tuple[str, ...] = ()) -> Json:
        entries = self.module.entries.get(key, {})
        members = self.module.classes[cls].members if cls in self.module.classes else {}
        attributes: dict[str, Json] = {}
        blocks: dict[str, Json] = {}
        within = (*outer, key)
        for name in sorted({*entries, *members}):
            computed, optional, required, expression = members.get(name, Member())
            if name not in entries:
                type_ = self._computed_type(expression, within)
                attributes[name] = self._attribute(name, type_, True, False, False)
                continue
            value, is_block, kind, storage = entries[name]
            if not is_block:
                type_ = _argument_type(kind, storage)
                attributes[name] = self._attribute(name, type_, computed, optional, required)
                continue
            value = value.rpartition(" ? null : ")[2]
            mapped = _MAPPED_BLOCK.match(value)
            found = mapped or _PLAIN_BLOCK.match(value)
            assert found, f"{self.type_name}.{name}: {value}"
            child = found[1]
            if within.count(child) >= _MAX_RECURSION:
                continue
            nested = self.block(child, _capital(child) + "OutputReference", within)
            if (mapped and mapped[2] == "false") or (kind == "struct" and computed):
                type_ = _object_type(nested)
                if kind != "struct":
                    type_ = [kind, type_]
                attributes[name] = self._attribute(name, type_, computed, optional, required)
                continue
            nesting = {"struct": "single"}.get(kind, kind)
            if nesting == "set" and _unfit_for_set(nested):
                nesting = "list"
            counted = nesting in ("list", "set")
            blocks[name] = {
                "nesting": nesting,
                "min": 1 if counted and required else 0,
                "max": 1 if counted and not mapped else 0,
                "block": nested,
            }
        return {"attributes": attributes, "blocks": blocks}

    def _attribute(self, name: str, type_: Json, computed: bool, optional: bool, required: bool) -> Json:
        attribute: dict[str, Json] = {"type": type_}
        if required:
            attribute["required"] = True
        else:
            attribute["optional"] = optional
            attribute["computed"] = computed or not optional
        if name in _SENSITIVE or (self.type_name, name) in _SENSITIVE_IN:
            attribute["sensitive"] = True
        # By the provider's convention write-only arguments, and only those, end so.
        if name.endswith("_wo") and attribute.get("optional"):
            attribute["write_only"] = True
            attribute["computed"] = False
        return attribute

    def _computed_type(self, expression: str, within: tuple[str, ...]) -> Json:
        nested = NESTED.match(expression)
        if nested:
            return self._nested_type(nested[1], nested[2], within)
        getter = re.search(r"this\.(get\w+)\(", expression)
        if not getter or getter[1] not in _GETTERS:
            return "dynamic"
        type_ = _GETTERS[getter[1]]
        if "Fn.tolist(" in expression:
            return ["set", type_[1]]
        return type_

    def _nested_type(self, cls: str, wraps_set: str | None, within: tuple[str, ...]) -> Json:
        if cls in _MAP_CLASSES:
            return ["map", _MAP_CLASSES[cls]]
        if cls.endswith("MapList") and cls.removesuffix("MapList") in _MAP_CLASSES:
            return ["list", ["map", _MAP_CLASSES[cls.removesuffix("MapList")]]]
        classes = self.module.classes
        if cls.endswith("OutputReference"):
            return _object_type(self.block(_lower(cls.removesuffix("OutputReference")), cls, within))
        many = "set" if wraps_set == "true" else "list"
        for suffix, kind in (("List", many), ("Map", "map")):
            element = cls.removesuffix(suffix)
            if cls.endswith(suffix) and element + "OutputReference" in classes:
                reference = element + "OutputReference"
                return [kind, _object_type(self.block(_lower(element), reference, within))]
        return "dynamic"


def _argument_type(kind: str, storage: str) -> Json:
    if kind == "simple":
        return _SCALARS.get(storage, "dynamic")
    element = re.sub(r"(List|Map)$", "", storage)
    return [kind, _storage_type(element)]


def _storage_type(storage: str) -> Json:
    for suffix, kind in (("List", "list"), ("Map", "map")):
        if storage.endswith(suffix):
            return [kind, _storage_type(storage.removesuffix(suffix))]
    return _SCALARS.get(storage, "dynamic")


def _object_type(block: Json) -> Json:
    members = {name: attribute["type"] for name, attribute in block["attributes"].items()}
    for name, nested in block["blocks"].items():
        element = _object_type(nested["block"])
        members[name] = element if nested["nesting"] == "single" else [nested["nesting"], element]
    return ["object", members]


def _unfit_for_set(block: Json) -> bool:
    """Terraform allows neither dynamic types nor write-only arguments within a set block."""
    if any(a.get("write_only") or is_dynamic(a["type"]) for a in block["attributes"].values()):
        return True
    return any(_unfit_for_set(nested["block"]) for nested in block["blocks"].values())


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def extract(archive: Path) -> Json:
    """The whole schema: `{version, provider, resources, data_sources}`. Raises LlmopsError for bindings laid out otherwise."""
    modules: dict[str, JavaScript] = {}
    version = ""
    for name, source in sources(archive):
        modules.setdefault(name, JavaScript()).read(source)
        if not version and (match := _VERSION.search(source)):
            version = match[1]
    schema: dict[str, Json] = {
        "version": version,
        "provider": None,
        "resources": {},
        "data_sources": {},
    }
    for module in modules.values():
        for cls, parsed in module.classes.items():
            if parsed.parent == "TerraformProvider":
                block = _Reader(module, "provider").block(cls, cls)
                for attribute in block["attributes"].values():
                    attribute.pop("computed", None)
                schema["provider"] = block
            elif parsed.parent in ("TerraformResource", "TerraformDataSource"):
                match = _TYPE_NAME.search(parsed.body)
                if match is None:
                    raise LlmopsError(f"{archive.name}: not laid out as cdktn lays out bindings; install cdktn-provider-aws")
                type_name = match[1]
                kind = "resources" if parsed.parent == "TerraformResource" else "data_sources"
                schema[kind][type_name] = _Reader(module, type_name).block(cls, cls)
    if schema["provider"] is None or "aws_vpc" not in schema["resources"]:
        raise LlmopsError(f"{archive.name}: not bindings of the AWS provider; install cdktn-provider-aws")
    return schema


def store(schema: Json, target: Path) -> None:
    """Writes the schema as a zip with one JSON document a type, so that each is read on demand."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
        for kind in ("resources", "data_sources"):
            for name, block in schema[kind].items():
                out.writestr(f"{kind}/{name}", json.dumps(block))
        out.writestr("provider", json.dumps(schema["provider"]))
        out.writestr("version", schema["version"])
