"""Settings of `evaluate` and `compare`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_shared.config import Config, JobConfig, Tracking
from llmops_shared.review.location import QueueConfig

Measure = Literal[
    "perplexity", "word_perplexity", "bits_per_byte",
    "rouge_1", "rouge_2", "rouge_l", "rouge_lsum", "bleu", "chrf", "ter", "meteor", "meteor_1_5", "cider", "spice",
    "bertscore_f1", "embedding_similarity",
    "exact_match", "answer_exact_match", "signature_exact_match", "squad_exact_match", "squad_f1",
    "accuracy", "precision", "recall", "f1", "mcc", "recall_at_k", "mrr", "ndcg_at_k", "tokens_per_second",
]  # fmt: skip

LIKELIHOOD = ("perplexity", "word_perplexity", "bits_per_byte")
RANKING = ("recall_at_k", "mrr", "ndcg_at_k")


class EndpointConfig(Config):
    """A live endpoint that answers over HTTP."""

    url: str = Field(pattern=r"^https?://")
    """Where it is, such as `http://127.0.0.1:8080`; the route is added."""
    route: Literal["openai", "tgi"] = Field(default="openai")
    """`openai`: /v1/chat/completions; `tgi`: /generate, which takes the question as it is, without a chat template."""
    model: str = Field(default="default", min_length=1)
    """Name of the model in the request (openai)."""
    api_key_file: str | None = Field(default=None)
    """File whose content is sent as bearer token."""
    concurrency: int = Field(default=8, ge=1)
    """Requests in flight."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Longest wait for an answer."""
    num_retries: int = Field(default=3, ge=0)
    """Further tries, after growing pauses, when it is busy (429, 503) or does not connect."""


class ThresholdConfig(Config):
    """Bounds of a measure."""

    at_least: float | None = Field(default=None)
    """The value must not be lower."""
    at_most: float | None = Field(default=None)
    """The value must not be higher."""

    @model_validator(mode="after")
    def check_bound(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least or at_most")
        return self


class GateConfig(Config):
    """When a difference counts."""

    alpha: float = Field(default=0.01, gt=0, lt=1)
    """Chance of calling any measure different when none is (Holm's correction over all measures)."""
    margin: float = Field(default=0.01, ge=0)
    """Differences below this share of the baseline's value have no practical meaning, however certain they are."""
    margins: dict[str, float] = Field(default={})
    """Margin of single measures, in the measure's own unit."""
    min_rows: int = Field(default=30, ge=2)
    """With fewer common rows the verdict is `not_enough_data`."""
    num_resamples: int = Field(default=10_000, ge=1000)
    """Draws of the paired bootstrap and of approximate randomisation."""
    measures: list[str] | None = Field(default=None, min_length=1)
    """What decides; none: every measure that both reports have row by row."""


class JudgeConfig(Config):
    """A model as judge of the answers."""

    kind: Literal["openai", "tgi", "bedrock", "package"]
    """What is asked: an OpenAI-compatible endpoint, a TGI endpoint, Amazon Bedrock (Converse), or a model of ours or a directory."""
    url: str | None = Field(default=None, pattern=r"^https?://")
    """Where the endpoint is (openai, tgi)."""
    model: str = Field(default="default", min_length=1)
    """Model name (openai), model id or inference profile (bedrock), or where the model is (package)."""
    region: str | None = Field(default=None)
    """AWS region (bedrock)."""
    api_key_file: str | None = Field(default=None)
    """File whose content is sent as bearer token."""
    mode: Literal["pairwise", "rubric"] = Field(default="pairwise")
    """`pairwise`: against the reference, or the baseline's answer, in both orders; `rubric`: a score from 1 to 5."""
    opponent: Literal["reference", "baseline"] = Field(default="reference")
    """Whose answer a pairwise judge sees beside ours."""
    rubric: str = Field(default="Is the answer correct, complete and to the point?", min_length=1)
    """What a good answer is."""
    labels: str | None = Field(default=None)
    """JSON lines of `row_id` and `label` by people, to report the judge's agreement with them."""
    max_tokens: int = Field(default=300, ge=16)
    """Longest verdict."""
    concurrency: int = Field(default=8, ge=1)
    """Verdicts asked for at a time."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Longest wait for a verdict."""

    @model_validator(mode="after")
    def check_place(self) -> Self:
        if self.kind in ("openai", "tgi") and self.url is None:
            raise ValueError(f"judge kind {self.kind} needs judge.url")
        if self.kind in ("bedrock", "package") and self.model == "default":
            raise ValueError(f"judge kind {self.kind} needs judge.model, a model id or where the model is")
        return self


class ReviewConfig(Config):
    """Answers that people look at."""

    queue: QueueConfig
    """Where they wait for people."""
    audit_share: float = Field(default=0.02, ge=0, le=1)
    """Share of rows drawn at random: the only unbiased part."""
    max_rows: int = Field(default=50, ge=1)
    """Most rows that go to people, unsure ones first."""
    low_margin: float = Field(default=0.1, ge=0, le=1)
    """A rubric score this near to the middle (as a share of its range), or ROUGE-L this near to 0.5 without a judge, is unsure."""


class BenchmarksConfig(Config):
    """Published benchmarks, by lm-evaluation-harness."""

    tasks: list[str] = Field(min_length=1)
    """Names of the harness (`arc_easy`, `mmlu`, `gsm8k`, ...), and `humaneval` and `mbpp`, whose programs run in a sandbox."""
    data: str | None = Field(default=None)
    """Folder with files in the published formats, used instead of the hub; none: the hub."""
    limit: int | None = Field(default=None, ge=1)
    """First rows of each task; none: all."""
    num_fewshot: int | None = Field(default=None, ge=0)
    """Examples in the prompt; none: the task's own number."""
    batch_rows: int = Field(default=16, ge=1)
    """Requests scored at a time."""


class EvaluateConfig(JobConfig):
    """Settings of `llmops-train evaluate`."""

    run: str | None = Field(default=None, min_length=1)
    """What to judge: a TrainingRun, a ModelPackage, a model directory, an `s3://` prefix or a Hugging Face id."""
    endpoint: EndpointConfig | None = Field(default=None)
    """What to judge instead: a live endpoint."""
    predictions: str | None = Field(default=None, min_length=1)
    """What to judge instead: JSON lines of `id`, `prediction`, `reference` (a text or a list), or of `id`, `retrieved`, `relevant`."""
    dataset: str | None = Field(default=None, min_length=1)
    """DatasetManifest with questions and answers, or with texts (perplexity only): its folder or file."""
    split: str = Field(default="test", min_length=1)
    """Split to judge on; it must not have been trained on."""
    measures: list[Measure] | None = Field(default=None, min_length=1)
    """What to measure; one that the rows do not offer is an error, never a gap. None: the usual ones of what is judged."""
    limit: int = Field(default=200, ge=1)
    """Rows to answer: a seeded sample with equal shares of the question kinds."""
    perplexity_rows: int = Field(default=1000, ge=1)
    """Rows to measure perplexity on: a seeded sample of all."""
    stride: int | None = Field(default=None, ge=1)
    """Tokens that a window over a long text moves on, so that each token sees those before it; none: half a window."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Longest answer."""
    batch_rows: int = Field(default=50, ge=1)
    """Rows answered at a time; a finished batch is kept when the job is stopped."""
    encoder: str | None = Field(default=None)
    """Directory of the encoder behind bertscore_f1 and embedding_similarity."""
    positive_label: str | None = Field(default=None)
    """Class that precision, recall and f1 are about; none: the mean over classes."""
    k: int = Field(default=10, ge=1)
    """Documents that recall_at_k and ndcg_at_k look at."""
    benchmarks: BenchmarksConfig | None = Field(default=None)
    """Published benchmarks."""
    judge: JudgeConfig | None = Field(default=None)
    """A model as judge."""
    review: ReviewConfig | None = Field(default=None)
    """People."""
    reuse: str | None = Field(default=None)
    """Report of the same model whose answers are taken instead of asking again, as when people have answered in between."""
    thresholds: dict[str, ThresholdConfig] = Field(default={})
    """Bounds by measure; missing one makes the verdict `fail` and the exit code 3."""
    baseline: str | None = Field(default=None)
    """Report of another evaluation to compare with; being worse makes the exit code 3."""
    gate: GateConfig = Field(default=GateConfig())
    """When a difference from the baseline counts."""
    trained_on: str | None = Field(default=None)
    """DatasetManifest to look for the judged rows in; none: that of the judged run or package."""
    num_threads: int | None = Field(default=None, ge=1)
    """Threads of torch; none: one a core."""
    seed: int = Field(default=0, ge=0)
    """Seed of the samples and of the bootstrap."""

    @model_validator(mode="after")
    def check_subject(self) -> Self:
        given = [name for name in ("run", "endpoint", "predictions") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of run, endpoint, predictions; given: {', '.join(given) or 'none'}")
        if self.predictions is None and self.dataset is None and self.benchmarks is None:
            raise ValueError("give dataset (questions to ask), benchmarks, or both")
        if self.predictions is not None and (self.dataset or self.benchmarks):
            raise ValueError("predictions are judged as they are: leave dataset and benchmarks out")
        return self

    @model_validator(mode="after")
    def check_extras(self) -> Self:
        if self.judge is not None and self.judge.opponent == "baseline" and self.baseline is None:
            raise ValueError("judge.opponent baseline needs baseline, a report whose answers the judge sees beside ours")
        if self.dataset is None and self.predictions is None:
            asked = [name for name in ("measures", "judge", "review") if getattr(self, name) is not None]
            if asked:
                raise ValueError(f"{', '.join(asked)}: judge answers, and there is no dataset with questions; give dataset")
        return self


class CompareConfig(Config):
    """Settings of `llmops-train compare`."""

    baseline: str = Field(min_length=1)
    """Report of what is served or was best so far; the first bare word."""
    candidate: str = Field(min_length=1)
    """Report of what is new, on the same rows; the second bare word."""
    gate: GateConfig = Field(default=GateConfig())
    """When a difference counts."""
    out: str | None = Field(default=None, min_length=1)
    """Folder to write the Report to; none: it is printed only."""
    tracking: Tracking = Field(default=Tracking())
    """MLflow; used with out only."""
    seed: int = Field(default=0, ge=0)
    """Seed of the draws."""
