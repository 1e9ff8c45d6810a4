"""Rules on OpenSearch Serverless, whose policies are not IAM's."""

from llmops_infra.rules.rule import Block, document, rule, texts


@rule("LLMOPS_15", "A collection is reached from inside the VPC only", "aws_opensearchserverless_security_policy")
def collection_is_private(policy: Block) -> str | None:
    if policy.get("type") != "network":
        return None
    for part in document(policy, "policy") or [{"AllowFromPublic": True}]:
        if part.get("AllowFromPublic") is not False or not part.get("SourceVPCEs"):
            return "AllowFromPublic is not false, or no VPC endpoint is named"
    return None


@rule("LLMOPS_16", "A collection is encrypted with a key of ours", "aws_opensearchserverless_security_policy")
def collection_is_encrypted(policy: Block) -> str | None:
    if policy.get("type") != "encryption":
        return None
    found = document(policy, "policy") or {}
    return None if found.get("KmsARN") and found.get("AWSOwnedKey") is not True else "KmsARN is missing or AWSOwnedKey is true"


@rule("LLMOPS_17", "Named roles may do named things with indexes", "aws_opensearchserverless_access_policy")
def permissions_are_named(policy: Block) -> str | None:
    for part in document(policy, "policy") or [{"Principal": "*"}]:
        if not part.get("Principal") or any(principal.endswith("*") for principal in texts(part["Principal"])):
            return f"{part.get('Description')}: the principal is not named"
        for found in part.get("Rules", []):
            if any(permission.endswith("*") for permission in texts(found.get("Permission"))):
                return f"{part.get('Description')}: permissions are not written out"
    return None
