"""`llmops-monitor why REQUEST_ID`: from an answer back to the raw documents it came from."""

import logging
from collections.abc import Iterator

from pydantic import ValidationError

from llmops_monitor.lineage import Lineage, Walk
from llmops_monitor.load import capture_uri
from llmops_monitor.sagemaker_capture import CaptureError, exchange_of, is_capture
from llmops_monitor.why_config import WhyConfig
from llmops_shared.contracts.endpoint import Endpoint
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.documents import document_uri, read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.store import store_for

logger = logging.getLogger(__name__)


def run(config: WhyConfig) -> Lineage:
    """Finds the answers to a request (production's and the shadow's) and walks back from each. Raises LlmopsError when there is none."""
    place = document_uri(config.endpoint, Endpoint)
    log = config.exchanges or capture_uri(place, read_document(place, Endpoint))
    exchanges = list(answers_to(config.request_id, log))
    if not exchanges:
        raise LlmopsError(f"{log}: has no answer to request {config.request_id}; it may be in another log (exchanges=), or was not sampled")
    walk = Walk()
    for exchange in exchanges:
        walk.exchange(exchange, place)
    for link in walk.links:
        facts = ", ".join(f"{key} {value}" for key, value in link.facts.items() if value)
        logger.info("%s %s%s: %s (%s)", link.kind, link.name, f" behind {link.of}" if link.of else "", facts or "-", link.uri or log)
    for gap in walk.gaps:
        logger.warning("gap: %s", gap)
    return Lineage(request_id=config.request_id, links=walk.links, gaps=walk.gaps)


def answers_to(request_id: str, uri: str) -> Iterator[Exchange]:
    """The exchanges of a request, the last one of each variant; only lines that hold the id are read as JSON."""
    store, wanted = store_for(uri), request_id.encode()
    found: dict[tuple[str, bool], Exchange] = {}
    for entry in store.entries(uri):
        if not entry.uri.endswith(".jsonl"):
            continue
        for line in store.read(entry.uri).split(b"\n"):
            if wanted not in line:
                continue
            try:
                exchange = exchange_of(line, entry.uri) if is_capture(line) else Exchange.model_validate_json(line)
            except (ValidationError, CaptureError):
                continue  # a broken line is told by `compare` and `drift`, and names no chain
            if exchange.request_id == request_id:
                found[exchange.variant, exchange.shadow] = exchange
    return iter(sorted(found.values(), key=lambda exchange: exchange.shadow))
