"""`llmops-serve promote`: what was on trial goes live if the Report about exactly these packages says so."""

from typing import NamedTuple

from llmops_serve.document_config import PromoteConfig
from llmops_serve.history import next_generation, record
from llmops_shared.contracts import Endpoint, ModelPackage, Report
from llmops_shared.contracts.endpoint import Arm, Variant
from llmops_shared.documents import document_uri, follow, read_document, refer, write_document
from llmops_shared.errors import LlmopsError, VerdictNo
from llmops_shared.resume import digest_of, finished
from llmops_shared.store import folder_of
from llmops_shared.tracking import point_alias


class Trial(NamedTuple):
    """What was compared with what, by the roles that a report has for them."""

    before: Variant
    after: Variant
    roles: tuple[str, str]
    arms: tuple[Arm, ...] = ()
    """What is left of the arms: the one that won, for everybody, where it is more than a package."""


def promote(config: PromoteConfig) -> Endpoint:
    """Reads an Endpoint and the Report about it; writes the next generation and points `champion` at the package that goes live.

    Raises VerdictNo when the report's verdict is not `promote`, and LlmopsError when the report is about something else.
    Nothing is written in both cases.
    """
    place, report_place = document_uri(config.endpoint, Endpoint), document_uri(config.report, Report)
    before, report = read_document(place, Endpoint), read_document(report_place, Report)
    trial = trial_of(before, place, report, report_place)
    digests = dict(zip(trial.roles, (trial.before.package.sha256, trial.after.package.sha256), strict=True))
    check_subjects(report, report_place, {"endpoint": digest_of(place, Endpoint), **digests})
    if report.verdict != "promote":
        raise VerdictNo(f"{report_place}: the verdict is {report.verdict}: {' '.join(report.reasons)}")
    if kept := finished(config, Endpoint, {"endpoint": digest_of(place, Endpoint), "report": digest_of(report_place, Report)}):
        return kept

    _, package = follow(trial.after.package, folder_of(place), ModelPackage)
    folder = folder_of(document_uri(config.out, Endpoint))
    after = next_generation(before, place, folder, f"promote {package.name}: {' '.join(report.reasons[:1])}")
    moved = next(variant for variant in after.variants if variant.name == trial.after.name)
    promoted = moved.model_copy(update={"name": trial.before.name, "shadow": False, "weight": 1.0})
    arms = [arm for arm in after.arms if arm.name in {one.name for one in trial.arms}]  # with references as this folder sees them
    arms = [arm.model_copy(update={"variant": None, "weight": 1.0}) for arm in arms]
    endpoint = after.model_copy(update={"evidence": refer(report_place, Report, folder), "variants": [promoted], "arms": arms})
    record(config.tracking, endpoint, {promoted.name: package})
    if package.registered_model is not None:
        point_alias(config.tracking, package.registered_model, "champion")
    write_document(config.out, endpoint)
    return endpoint


def trial_of(endpoint: Endpoint, place: str, report: Report, report_place: str) -> Trial:
    """What the report compared. Raises LlmopsError when the endpoint has no such trial."""
    match report.report:
        case "shadow":
            shadow = endpoint.shadow()
            if shadow is None:
                raise LlmopsError(f"{place}: has no shadow variant to promote; name the generation that `llmops-serve shadow` wrote")
            if endpoint.arms:
                raise LlmopsError(
                    f"{place}: has arms ({', '.join(arm.name for arm in endpoint.arms)}), whose test a new package would spoil; "
                    "end it first with `llmops-serve arms arms={}`"
                )
            return Trial(endpoint.production()[0], shadow, ("production", "shadow"))
        case "ab":
            return split_trial(endpoint, place, report, report_place)
        case kind:
            raise LlmopsError(
                f"{report_place}: is a report of kind {kind}; promotion needs one of kind shadow (llmops-monitor compare) "
                "or ab (llmops-monitor ab)"
            )


def split_trial(endpoint: Endpoint, place: str, report: Report, report_place: str) -> Trial:
    """Control and treatment, told by the digests of their packages. Raises LlmopsError for arms that share a package."""
    variants = []
    for role in ("control", "treatment"):
        subject = report.subjects.get(role)
        if subject is None:
            raise LlmopsError(f"{report_place}: does not say which {role} it is about; run llmops-monitor ab again")
        found = [variant for variant in endpoint.production() if variant.package.sha256 == subject.sha256]
        if not found:
            raise LlmopsError(
                f"{report_place}: is about another {role} ({subject.uri}, sha256 {subject.sha256[:12]}) than {place} has in production; "
                "run llmops-monitor ab on this endpoint"
            )
        variants.append(found[0])
    before, after = variants
    if not endpoint.arms:
        return Trial(before, after, ("control", "treatment"))
    winners = [arm for arm in endpoint.arms if arm.variant == after.name]
    if before.name == after.name or len(winners) != 1:
        raise LlmopsError(
            f"{report_place}: tells arms by their packages, and those of {place} ({', '.join(arm.name for arm in endpoint.arms)}) share "
            "one; give the arm that won to everybody with `llmops-serve arms endpoint=... arms.NAME.prompt=...`, as the only one"
        )
    (winner,) = winners
    return Trial(before, after, ("control", "treatment"), (winner,) if winner.prompt or winner.retrieval else ())


def check_subjects(report: Report, place: str, expected: dict[str, str]) -> None:
    """Raises LlmopsError unless the report judged exactly the documents with these digests."""
    command = "llmops-monitor compare" if report.report == "shadow" else "llmops-monitor ab"
    for role, digest in expected.items():
        subject = report.subjects.get(role)
        if subject is None:
            raise LlmopsError(f"{place}: does not say which {role} it is about; run {command} again")
        if subject.sha256 != digest:
            raise LlmopsError(
                f"{place}: is about another {role} ({subject.uri}, sha256 {subject.sha256[:12]}, expected {digest[:12]}); "
                f"run {command} on this endpoint"
            )
