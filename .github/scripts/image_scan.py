"""Waits for ECR's scan of an image and fails on what must not run: image_scan.py REPOSITORY DIGEST."""
# ruff: noqa: T201 - what these scripts print is what the workflow reads

import sys
import time

import boto3  # noqa: TID253 - the script is about nothing else
from botocore.exceptions import ClientError

REFUSED = ("CRITICAL", "HIGH")
TIMEOUT_S, EVERY_S = 900, 10


def main() -> int:
    """1 when a finding is refused, 2 when the scan did not end."""
    repository, digest = sys.argv[1:3]
    image = {"repositoryName": repository, "imageId": {"imageDigest": digest}}
    registry, until = boto3.client("ecr"), time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        try:
            found = registry.describe_image_scan_findings(**image)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ScanNotFoundException":  # it has not begun yet
                raise
            found = {"imageScanStatus": {"status": "PENDING"}}
        status = found["imageScanStatus"]["status"]
        if status in ("COMPLETE", "ACTIVE"):
            counts = found["imageScanFindings"].get("findingSeverityCounts", {})
            print(f"{repository}@{digest}: {counts or 'nothing found'}")
            refused = [item for item in found["imageScanFindings"].get("findings", []) if item["severity"] in REFUSED]
            for item in refused:
                print(f"{item['severity']} {item['name']} {item.get('uri', '')}")
            return int(any(counts.get(level) for level in REFUSED))
        if status in ("FAILED", "UNSUPPORTED_IMAGE", "SCAN_ELIGIBILITY_EXPIRED"):
            print(f"{repository}@{digest}: {status}: {found['imageScanStatus'].get('description', '')}")
            return 2
        time.sleep(EVERY_S)
    print(f"{repository}@{digest}: no result of the scan after {TIMEOUT_S} s")
    return 2


if __name__ == "__main__":
    sys.exit(main())
