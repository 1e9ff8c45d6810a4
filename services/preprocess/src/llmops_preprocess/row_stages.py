"""The stages that look at one document at a time, in order: the same for every engine."""

from functools import partial

from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.language import filter_language
from llmops_preprocess.normalise import normalise
from llmops_preprocess.quality import filter_quality
from llmops_preprocess.web_quality import RowStage, web_stages


def row_stages(config: PreprocessConfig) -> list[RowStage]:
    """Those that are on; what is off leaves no count."""
    stages: list[RowStage] = [
        normalise,
        partial(filter_language, config=config.language),
        partial(filter_quality, config=config.quality),
        *web_stages(config.web_quality),
    ]
    if config.repair:
        from llmops_preprocess.repair import repair

        stages.insert(0, repair)
    if config.decontamination.uris:
        from llmops_preprocess.decontaminate import decontaminate

        stages.append(partial(decontaminate, config=config.decontamination))
    if config.pii.action != "keep":
        from llmops_preprocess.pii import handle_pii

        stages.append(partial(handle_pii, config=config.pii))
    if config.annotate.detect:
        from llmops_preprocess.annotate import annotate

        stages.append(partial(annotate, config=config.annotate))
    return stages
