"""Partitions, DNS suffixes and availability zones of a region."""


def partition(region: str) -> str:
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def dns_suffix(region: str) -> str:
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def zones(region: str) -> list[str]:
    return [region + letter for letter in "abc"]


def zone_ids(region: str) -> list[str]:
    parts = region.rsplit("-", 2)
    area, direction, number = parts if len(parts) == 3 else ("us", "east", "1")
    compass = ("north", "south", "east", "west", "central")
    short = "".join(point[0] for point in compass if point in direction)
    return [f"{area.replace('-', '')}{short}{number}-az{index}" for index in (1, 2, 3)]
