"""`llmops-monitor profile`: the baseline, profiled once and saved."""

import logging
from typing import ClassVar, Literal

from pydantic import Field

from llmops_monitor.load import asked, digest, log_of, read_log, select
from llmops_monitor.traffic_config import PriceConfig, ProfileConfig
from llmops_shared.contracts.document import Contract, Part
from llmops_shared.documents import document_uri, fetch_part, read_document, store_part, write_document
from llmops_shared.resume import finished

logger = logging.getLogger(__name__)


class ReferenceProfile(Contract):
    """A saved profile of traffic that is known to be good."""

    file_name: ClassVar[str] = "profile.json"

    kind: Literal["profile"] = "profile"
    """What this document is."""
    name: str
    """Its name."""
    window: str
    """Which traffic it holds, in words."""
    num_rows: int = Field(ge=0)
    """Exchanges profiled."""
    columns: list[str]
    """What is known of each."""
    index: str | None
    """RetrievalIndex whose chunks were measured with the exchanges: a comparison needs the same."""
    price: PriceConfig
    """Prices the costs were measured with."""
    profile: Part
    """Counts, moments and the sample, as NumPy arrays."""


def run(config: ProfileConfig) -> ReferenceProfile:
    """Reads the window, measures its exchanges and saves their profile."""
    log = read_log(log_of(config.endpoint, config.exchanges))
    exchanges = select(log, config.select, "select")
    kept = finished(config, ReferenceProfile, {"exchanges": digest(exchanges, log.broken)})
    if kept is not None:
        return kept

    from llmops_monitor.observe import chunk_texts
    from llmops_monitor.windowed import profile_exchanges

    profile = profile_exchanges(exchanges, chunk_texts(config.index), config.price)
    document = ReferenceProfile(
        name=config.name,
        window=asked(config.select),
        num_rows=profile.num_rows,
        columns=list(profile.columns),
        index=config.index,
        price=config.price,
        profile=store_part(config.out, "profile.npz", profile.to_bytes()),
    )
    write_document(config.out, document)
    logger.info("profiled %d exchanges in %d columns", profile.num_rows, len(profile.columns))
    return document


def read_profile(uri: str) -> "tuple[ReferenceProfile, bytes]":
    """The document and the content of its profile. Raises LlmopsError when one of them is missing or damaged."""
    place = document_uri(uri, ReferenceProfile)
    document = read_document(place, ReferenceProfile)
    return document, fetch_part(place, document.profile).read_bytes()
