"""Settings of the stage that annotates documents."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_shared.config import Config

Detection = Literal["language", "entities", "pii", "classes"]


class Annotate(Config):
    """Annotations of documents, kept as metadata, masked, or as a reason to drop a document; off without `detect`."""

    detect: tuple[Detection, ...] = Field(default=())
    """What to look for: `language`, `pii`, and with Comprehend `entities` and the `classes` of a custom classifier."""
    annotator: Literal["laptop", "comprehend"] = Field(default="laptop")
    """`laptop`: py3langid and rules, free; `comprehend`: Amazon Comprehend, billed by 100 characters. The same annotations come out."""
    language_code: str = Field(default="en", pattern=r"^[a-z]{2}(-TW)?$")
    """Language that Comprehend reads entities and PII in."""
    classifier_arn: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:comprehend:.*:document-classifier-endpoint/")
    """Endpoint of the custom classifier, or of a built-in one such as prompt safety; for `classes`."""
    min_score: float = Field(default=0.5, ge=0, le=1)
    """Annotations less sure are left out."""
    keep_languages: tuple[str, ...] = Field(default=())
    """Documents in other languages are dropped as `other_language`; none: all are kept."""
    drop_classes: tuple[str, ...] = Field(default=())
    """Documents of these classes are dropped as `class`."""
    pii: Literal["keep", "mask", "drop"] = Field(default="keep")
    """`mask` writes the type in its place, `drop` drops the document as `pii`; `keep` only annotates."""

    @model_validator(mode="after")
    def _settings_take_effect(self) -> Self:
        aws_only = sorted({"entities", "classes"} & set(self.detect))
        if self.annotator == "laptop" and aws_only:
            raise ValueError(f"detect {', '.join(aws_only)} needs annotator: comprehend")
        if ("classes" in self.detect) != (self.classifier_arn is not None):
            raise ValueError("detect classes and classifier_arn go together: give both or neither")
        for name, needed in (("keep_languages", "language"), ("drop_classes", "classes"), ("pii", "pii")):
            if getattr(self, name) not in ((), "keep") and needed not in self.detect:
                raise ValueError(f"{name} acts on what detect {needed} finds; add it to detect")
        return self
