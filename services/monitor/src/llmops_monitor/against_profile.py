"""`llmops-monitor drift profile=...`: a window of traffic against a saved profile, every figure of every exchange."""

import logging
from typing import TYPE_CHECKING

from llmops_monitor.config import DriftConfig
from llmops_monitor.load import asked, dead_letter, digest, log_of, read_log, select
from llmops_monitor.profile_job import ReferenceProfile, read_profile
from llmops_shared.contracts.document import Reference
from llmops_shared.contracts.endpoint import Endpoint
from llmops_shared.contracts.report import Report
from llmops_shared.documents import refer
from llmops_shared.page import Table, render
from llmops_shared.resume import digest_of, finished

if TYPE_CHECKING:
    from llmops_monitor.judgement import Judgement
    from llmops_monitor.profile import Profile
    from llmops_shared.statistics import Floats

logger = logging.getLogger(__name__)


def run(config: DriftConfig) -> Report:
    """Reads the window, profiles it as the reference was, tests all columns, and decides."""
    log = read_log(log_of(config.endpoint, config.exchanges))
    exchanges = select(log, config.current, "current")
    uri = config.profile or ""
    document, content = read_profile(uri)
    inputs = {"profile": digest_of(uri, ReferenceProfile), "current": digest(exchanges, log.broken)}
    subjects: dict[str, Reference] = {"reference": refer(uri, ReferenceProfile, config.out)}
    if config.endpoint is not None:
        inputs["endpoint"] = digest_of(config.endpoint, Endpoint)
        subjects["endpoint"] = refer(config.endpoint, Endpoint, config.out)
    kept = finished(config, Report, inputs)
    if kept is not None:
        return kept

    from llmops_monitor.gate import Limits, judge_profiles
    from llmops_monitor.observe import chunk_texts
    from llmops_monitor.profile import from_bytes
    from llmops_monitor.publish import Findings, publish
    from llmops_monitor.windowed import profile_exchanges

    reference = from_bytes(content, uri)
    current = profile_exchanges(exchanges, chunk_texts(document.index), document.price)
    judgement = judge_profiles(reference, current, Limits(config.alpha, config.min_rows, config.min_shift))
    files: dict[str, tuple[str, bytes]] = {"dead_letter": ("dead_letter.jsonl", dead_letter(log.broken))} if log.broken else {}
    reasons = list(judgement.reasons)
    if config.evidently and judgement.measurements:
        from llmops_monitor.evidently_report import make_report

        values = numbers_of(reference, current, config.min_rows)
        made = make_report(values, config.alpha / max(1, len(values)))
        files["evidently"] = ("evidently.html", made.html)
        reasons.append(f"Evidently: {made.num_failed} of {made.num_conditions} conditions failed (its report shows which).")
    if log.broken:
        reasons.append(f"{len(log.broken)} broken lines of the log were left out; they are listed in dead_letter.jsonl.")
    if log.num_repeats:
        reasons.append(f"{log.num_repeats} records were repeats of a request and counted once.")
    logger.info("verdict %s", judgement.verdict)
    summary = (
        f"{asked(config.current)} ({current.num_rows} exchanges) against the profile {document.name}: "
        f"{document.window} ({document.num_rows} exchanges)"
    )
    page = render(f"Drift: {config.name}", summary, [], judgement.verdict, reasons, [column_table(reference, current, judgement)])
    files["html"] = ("report.html", page.encode())
    return publish(config, Findings("drift", config.name, subjects, judgement.measurements, judgement.verdict, reasons, files))


def numbers_of(reference: "Profile", current: "Profile", min_rows: int) -> dict[str, tuple["Floats", "Floats"]]:
    """The samples of the columns of numbers that both profiles have, as Evidently takes them."""
    from llmops_monitor.gate import present
    from llmops_monitor.profile import NumberColumn

    found = {}
    for name, before in reference.columns.items():
        now = current.columns.get(name)
        if isinstance(before, NumberColumn) and isinstance(now, NumberColumn):
            pair = present(before.sample), present(now.sample)
            if min(map(len, pair)) >= min_rows:
                found[name] = pair
    return found


def column_table(reference: "Profile", current: "Profile", judgement: "Judgement") -> Table:
    """One row a column of numbers, the one that moved most first."""
    from llmops_monitor.profile import NumberColumn

    figures = {figure.name: figure.value for figure in judgement.measurements}
    rows = []
    for name in sorted(reference.columns, key=lambda name: (figures.get(f"p_value/{name}", 2.0), name)):
        before, now = reference.columns[name], current.columns.get(name)
        if not (isinstance(before, NumberColumn) and isinstance(now, NumberColumn)):
            continue
        rows.append(
            [
                name,
                f"{before.mean:.4g} ({before.num_missing / reference.num_rows:.0%} missing)",
                f"{now.mean:.4g} ({now.num_missing / max(1, current.num_rows):.0%} missing)",
                f"{figures[f'shift/{name}']:+.2f}" if f"shift/{name}" in figures else "",
                f"{figures[f'ks/{name}']:.3f}" if f"ks/{name}" in figures else "",
                f"{figures[f'p_value/{name}']:.2g}" if f"p_value/{name}" in figures else "",
            ]
        )
    return Table("Columns", ("Column", "Reference (mean)", "Current (mean)", "Shift in sd", "KS distance", "Corrected p"), rows)
