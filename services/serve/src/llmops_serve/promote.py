"""`llmops-serve promote`: the shadow's package goes live if the shadow Report about exactly these packages says so."""

from llmops_serve.config import PromoteConfig
from llmops_serve.history import moved, record
from llmops_shared.contracts import Endpoint, ModelPackage, Report
from llmops_shared.contracts.endpoint import Variant
from llmops_shared.documents import document_uri, follow, read_document, refer, write_document
from llmops_shared.errors import LlmopsError, VerdictNo
from llmops_shared.resume import digest_of, finished
from llmops_shared.store import folder_of
from llmops_shared.tracking import point_alias


def promote(config: PromoteConfig) -> Endpoint:
    """Reads an Endpoint with a shadow and the Report about it; writes the next generation and points `champion` at its package.

    Raises VerdictNo when the report's verdict is not `promote`, and LlmopsError when the report is about something else.
    Nothing is written in both cases.
    """
    place, report_place = document_uri(config.endpoint, Endpoint), document_uri(config.report, Report)
    before, report = read_document(place, Endpoint), read_document(report_place, Report)
    production, shadow = before.production()[0], shadow_of(before, place)
    check_subjects(report, report_place, {"endpoint": digest_of(place, Endpoint), **digests(production, shadow)})
    if report.verdict != "promote":
        raise VerdictNo(f"{report_place}: the verdict is {report.verdict}: {' '.join(report.reasons)}")
    if kept := finished(config, Endpoint, {"endpoint": digest_of(place, Endpoint), "report": digest_of(report_place, Report)}):
        return kept

    _, package = follow(shadow.package, folder_of(place), ModelPackage)
    folder = folder_of(document_uri(config.out, Endpoint))
    after = moved(before, folder_of(place), folder)
    promoted = shadow_of(after, place).model_copy(update={"name": production.name, "shadow": False, "weight": production.weight})
    endpoint = after.model_copy(
        update={
            "generation": before.generation + 1,
            "previous": refer(place, Endpoint, folder),
            "reason": f"promote {package.name}: {' '.join(report.reasons[:1])}",
            "evidence": refer(report_place, Report, folder),
            "variants": [promoted],
        }
    )
    record(config.tracking, endpoint, {production.name: package})
    if package.registered_model is not None:
        point_alias(config.tracking, package.registered_model, "champion")
    write_document(config.out, endpoint)
    return endpoint


def shadow_of(endpoint: Endpoint, place: str) -> Variant:
    """The shadow variant. Raises LlmopsError when there is none."""
    shadow = endpoint.shadow()
    if shadow is None:
        raise LlmopsError(f"{place}: has no shadow variant to promote; name the generation that `llmops-serve shadow` wrote")
    return shadow


def digests(production: Variant, shadow: Variant) -> dict[str, str]:
    """Digests of the two packages by the role they have in a shadow Report."""
    return {"production": production.package.sha256, "shadow": shadow.package.sha256}


def check_subjects(report: Report, place: str, expected: dict[str, str]) -> None:
    """Raises LlmopsError unless the report judged exactly the documents with these digests."""
    if report.report != "shadow":
        raise LlmopsError(f"{place}: is a report of kind {report.report}; promotion needs one of kind shadow (llmops-monitor compare)")
    for role, digest in expected.items():
        subject = report.subjects.get(role)
        if subject is None:
            raise LlmopsError(f"{place}: does not say which {role} it is about; run llmops-monitor compare again")
        if subject.sha256 != digest:
            raise LlmopsError(
                f"{place}: is about another {role} ({subject.uri}, sha256 {subject.sha256[:12]}, expected {digest[:12]}); "
                f"run llmops-monitor compare on this endpoint"
            )
