"""The documents services exchange. Each is frozen, forbids unknown keys and names its parts by digest."""

from llmops_shared.contracts.dataset import DatasetManifest
from llmops_shared.contracts.document import Contract, Part, Reference
from llmops_shared.contracts.endpoint import Endpoint
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.contracts.index import RetrievalIndex
from llmops_shared.contracts.package import ModelPackage
from llmops_shared.contracts.platform import Platform
from llmops_shared.contracts.report import Report
from llmops_shared.contracts.review import ReviewAnswer, ReviewItem
from llmops_shared.contracts.run import TrainingRun

__all__ = [
    "Contract",
    "DatasetManifest",
    "Endpoint",
    "Exchange",
    "ModelPackage",
    "Part",
    "Platform",
    "Reference",
    "Report",
    "RetrievalIndex",
    "ReviewAnswer",
    "ReviewItem",
    "TrainingRun",
]
