"""Data sources: the ones whose values configurations build upon, then a general rule."""

import json
from collections.abc import Callable
from typing import Any

from llmops_offline import functions, iam
from llmops_offline.aws_shapes import ACCOUNT
from llmops_offline.names import Names
from llmops_offline.regions import dns_suffix, partition, zone_ids, zones
from llmops_offline.schema import Block
from llmops_offline.simulate import Maker, Provider
from llmops_offline.values import Value

Values = dict[str, Value]

# Where AWS publishes the prebuilt images of Deep Learning Containers in most regions.
_IMAGE_ACCOUNT = "763104351884"


def read(maker: Maker, block: Block, type_name: str, config: Values, provider: Provider) -> Values:
    region = config.get("region") or provider.region
    known: Values = {}
    if handler := _HANDLERS.get(type_name):
        names = Names(type_name, config, region, json.dumps(config, sort_keys=True, default=str))
        known = handler(config, names, provider)
    settled = {name: given if given is not None else known.get(name) for name, given in config.items()}
    return maker.read(block, type_name, settled, provider)


def _availability_zones(config: Values, names: Names, provider: Provider) -> Values:
    excluded = set(config.get("exclude_names") or []), set(config.get("exclude_zone_ids") or [])
    pairs = [
        (name, zone_id)
        for name, zone_id in zip(zones(names.region), zone_ids(names.region), strict=True)
        if name not in excluded[0] and zone_id not in excluded[1]
    ]
    return {
        "id": names.region,
        "names": [name for name, _ in pairs],
        "zone_ids": [zone_id for _, zone_id in pairs],
        "group_names": [names.region],
    }


def _caller_identity(config: Values, names: Names, provider: Provider) -> Values:
    return {
        "id": ACCOUNT,
        "account_id": ACCOUNT,
        "arn": f"arn:{partition(names.region)}:iam::{ACCOUNT}:user/offline",
        "user_id": "AIDA" + names.hex(17).upper(),
    }


def _region(config: Values, names: Names, provider: Provider) -> Values:
    region = config.get("name") or names.region
    return {
        "id": region,
        "name": region,
        "region": region,
        "description": region,
        "endpoint": f"ec2.{region}.{dns_suffix(region)}",
    }


def _partition(config: Values, names: Names, provider: Provider) -> Values:
    suffix = dns_suffix(names.region)
    return {
        "id": partition(names.region),
        "partition": partition(names.region),
        "dns_suffix": suffix,
        "reverse_dns_prefix": ".".join(reversed(suffix.split("."))),
    }


def _policy_document(config: Values, names: Names, provider: Provider) -> Values:
    text = iam.render(config)
    return {
        "id": names.hex(10),
        "version": config.get("version") or "2012-10-17",
        "json": text,
        "minified_json": iam.dump(json.loads(text)),
    }


def _iam_policy(config: Values, names: Names, provider: Provider) -> Values:
    name = config.get("name") or (config.get("arn") or "simulated").rpartition("/")[2]
    arn = config.get("arn") or f"arn:{partition(names.region)}:iam::aws:policy/{name}"
    return {"id": arn, "arn": arn, "name": name, "path": "/"}


def _ssm_parameter(config: Values, names: Names, provider: Provider) -> Values:
    name = config["name"]
    value = f"simulated:{name}"
    if "ami" in name.lower():
        value = f"ami-{names.hex(17)}"
    return {"value": value, "insecure_value": value, "type": "String", "id": name}


def _secret_version(config: Values, names: Names, provider: Provider) -> Values:
    return {"secret_string": '{"password":"simulated","username":"simulated"}'}


def _prebuilt_image(config: Values, names: Names, provider: Provider) -> Values:
    host = f"{_IMAGE_ACCOUNT}.dkr.ecr.{names.region}.{dns_suffix(names.region)}"
    tag = config.get("image_tag") or "latest"
    return {
        "id": _IMAGE_ACCOUNT,
        "registry_id": _IMAGE_ACCOUNT,
        "registry_path": f"{host}/{config['repository_name']}:{tag}",
    }


def _vpc(config: Values, names: Names, provider: Provider) -> Values:
    return {"id": f"vpc-{names.hex(17)}", "cidr_block": "172.31.0.0/16", "state": "available"}


def _subnets(config: Values, names: Names, provider: Provider) -> Values:
    return {"ids": [f"subnet-{names.hex(17, salt)}" for salt in "abc"]}


def _endpoint_service(config: Values, names: Names, provider: Provider) -> Values:
    service = config.get("service") or "service"
    return {
        "service_name": f"com.amazonaws.{names.region}.{service}",
        "availability_zones": zones(names.region),
    }


def _ami(config: Values, names: Names, provider: Provider) -> Values:
    image = f"ami-{names.hex(17)}"
    return {"id": image, "image_id": image, "architecture": "x86_64", "state": "available"}


def _session_context(config: Values, names: Names, provider: Provider) -> Values:
    return {"issuer_arn": config["arn"], "issuer_name": config["arn"].rpartition("/")[2]}


def _service_principal(config: Values, names: Names, provider: Provider) -> Values:
    return {"name": f"{config['service_name']}.{dns_suffix(names.region)}"}


def _instance_type_offerings(config: Values, names: Names, provider: Provider) -> Values:
    """Every type that is asked for, offered everywhere."""
    asked = [block["values"] for block in config.get("filter") or [] if block["name"] == "instance-type"]
    types = [name for values in asked for name in values]
    places = {"availability-zone": zones(names.region), "availability-zone-id": zone_ids(names.region)}
    kind = config.get("location_type") or "region"
    pairs = [(place, name) for name in types for place in places.get(kind, [names.region])]
    return {
        "id": names.region,
        "locations": [place for place, _ in pairs],
        "instance_types": [name for _, name in pairs],
        "location_types": [kind for _ in pairs],
    }


def _arn(config: Values, names: Names, provider: Provider) -> Values:
    parts: dict[str, Any] = functions.arn_parse(config["arn"])
    return {**parts, "account": parts["account_id"], "id": config["arn"]}


def _default_tags(config: Values, names: Names, provider: Provider) -> Values:
    return {"id": "defaulttags", "tags": dict(provider.default_tags)}


def _canonical_user(config: Values, names: Names, provider: Provider) -> Values:
    return {"id": names.hex(64), "display_name": "offline"}


def _ecr_token(config: Values, names: Names, provider: Provider) -> Values:
    host = f"{ACCOUNT}.dkr.ecr.{names.region}.{dns_suffix(names.region)}"
    return {"user_name": "AWS", "password": "simulated", "proxy_endpoint": f"https://{host}"}


_HANDLERS: dict[str, Callable[[Values, Names, Provider], Values]] = {
    "aws_ami": _ami,
    "aws_arn": _arn,
    "aws_availability_zones": _availability_zones,
    "aws_caller_identity": _caller_identity,
    "aws_canonical_user_id": _canonical_user,
    "aws_default_tags": _default_tags,
    "aws_ec2_instance_type_offerings": _instance_type_offerings,
    "aws_ecr_authorization_token": _ecr_token,
    "aws_iam_policy": _iam_policy,
    "aws_iam_policy_document": _policy_document,
    "aws_iam_session_context": _session_context,
    "aws_partition": _partition,
    "aws_region": _region,
    "aws_sagemaker_prebuilt_ecr_image": _prebuilt_image,
    "aws_secretsmanager_secret_version": _secret_version,
    "aws_service_principal": _service_principal,
    "aws_ssm_parameter": _ssm_parameter,
    "aws_subnets": _subnets,
    "aws_vpc": _vpc,
    "aws_vpc_endpoint_service": _endpoint_service,
}
