"""Settings of `llmops-preprocess run`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_preprocess.annotate_config import Annotate
from llmops_preprocess.engine_config import EngineName, Glue, Spark
from llmops_preprocess.files_config import Files
from llmops_preprocess.row_rules_config import Decontamination, Pii, WebQuality
from llmops_shared.config import Config, JobConfig

Format = Literal["safetensors", "webdataset", "parquet"]
QuestionKind = Literal[
    "purpose", "lookup", "signature", "parameters", "default", "raises", "returns", "example", "module", "methods", "code"
]


class PythonStdlib(Config):
    """The documentation of the Python that runs this command: no download, the same for everyone with that Python."""

    kind: Literal["python_stdlib"] = "python_stdlib"
    """Source kind."""


class JsonLines(Config):
    """JSON lines, one record a line."""

    kind: Literal["jsonl"]
    """Source kind."""
    uri: str = Field(min_length=1)
    """File, or folder whose `.jsonl` files are read in order of their names; local or `s3://`."""
    text_field: str = Field(default="text", min_length=1)
    """Key of the text in a record (`view: text`)."""
    messages_field: str = Field(default="messages", min_length=1)
    """Key of the conversation in a record (`view: chat`): a list of {role, content}, the answer last."""
    licence: str = Field(default="unknown", min_length=1)
    """Licence of the text; every row carries it."""


class Language(Config):
    """Language filter (py3langid). Names and signatures look like no language, so it is lenient on purpose."""

    code: str | None = Field(default="en", pattern=r"^[a-z]{2}$")
    """ISO 639-1 code to keep; null keeps every language."""
    min_probability: float = Field(default=0.05, ge=0, le=1)
    """Texts whose probability for that language is below are dropped. At 0.05 no English sentence goes, and of other
    languages 99.7 % do (Wortschatz sentences in 75 languages)."""
    min_letters: int = Field(default=30, ge=0)
    """Texts with fewer letters, all of them ASCII, are kept unseen: too short to tell."""


class Quality(Config):
    """Quality rules of Gopher (Rae et al. 2021, table A1) and C4 (Raffel et al. 2020, section 2.2) that suit short technical text."""

    min_words: int = Field(default=4, ge=0)
    """Gopher: fewer words are dropped (50 for web pages; an API entry is short)."""
    max_words: int = Field(default=100_000, ge=1)
    """Gopher: more words are dropped."""
    min_mean_word_length: float = Field(default=2.0, ge=0)
    """Gopher: a lower mean is dropped (3 for prose; operators and numbers are shorter)."""
    max_mean_word_length: float = Field(default=20.0, ge=0)
    """Gopher: a higher mean is dropped (10 for prose; dotted names are longer)."""
    max_symbol_ratio: float = Field(default=0.1, ge=0)
    """Gopher: more `#` and ellipses per word are dropped."""
    min_alphabetic_words: float = Field(default=0.5, ge=0, le=1)
    """Gopher: a lower share of words with a letter is dropped (0.8 for prose)."""
    max_duplicate_lines: float = Field(default=0.3, ge=0, le=1)
    """Gopher: a higher share of lines that repeat an earlier line is dropped."""
    forbidden_phrases: tuple[str, ...] = Field(default=("lorem ipsum",))
    """C4: texts with one of these are dropped, whatever the case."""


class NearDuplicates(Config):
    """MinHash with LSH banding (Broder 1997; Leskovec et al., ch. 3); every candidate pair is verified by its exact Jaccard index."""

    threshold: float | None = Field(default=0.7, gt=0, le=1)
    """Jaccard index of two shingle sets from which the shorter text is dropped; null turns the stage off. At 0.7 one word in twenty
    may differ, and a planted near-duplicate is found in over 99 % of cases."""
    shingle_words: int = Field(default=3, ge=1)
    """Words in a shingle."""
    num_permutations: int = Field(default=128, ge=8, le=1024)
    """Length of a signature."""


class Splits(Config):
    """Shares of the documents, chosen by a hash of their text; a share of 0 leaves the split out."""

    train: float = Field(default=0.9, gt=0, le=1)
    """Share of `train`."""
    validation: float = Field(default=0.05, ge=0, lt=1)
    """Share of `validation`."""
    test: float = Field(default=0.05, ge=0, lt=1)
    """Share of `test`."""

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train + validation + test must be 1, got {total:g}")
        return self


class Questions(Config):
    """Questions made from documentation (`view: chat` with `source.kind: python_stdlib`)."""

    kinds: tuple[QuestionKind, ...] = Field(
        default=("purpose", "lookup", "signature", "parameters", "default", "raises", "returns", "example", "module", "methods"),
        min_length=1,
    )
    """Question kinds, each from another fact; `code` shows source code and asks what it does."""
    per_document: int = Field(default=4, ge=1)
    """Most questions from one document, so that long entries do not outweigh short ones."""
    limit: int | None = Field(default=None, ge=1)
    """Most chats in all splits together, a fair sample; null keeps all."""


class PreprocessConfig(JobConfig):
    """From raw text to a dataset: rows, tokenizer and packed token shards."""

    name: str = Field(min_length=1)
    """Name of the dataset, as MLflow shows it."""
    view: Literal["text", "chat"] = Field(default="text")
    """`text` for pre-training, `chat` for instruction tuning."""
    source: PythonStdlib | JsonLines | Files = Field(default=PythonStdlib(), discriminator="kind")
    """Where rows come from. `kind: python_stdlib` needs no more; `kind: jsonl` has `uri`, `text_field`, `messages_field`, `licence`;
    `kind: files` reads documents of any kind, see the service's README."""
    max_bad: float = Field(default=0.01, ge=0)
    """Broken records allowed, as a share of all if below 1, else as a number; beyond it the job fails."""
    language: Language = Field(default=Language())
    """Language filter."""
    quality: Quality = Field(default=Quality())
    """Quality rules."""
    repair: bool = Field(default=False)
    """Repairs Unicode that went through a wrong codec, before anything else (ftfy)."""
    web_quality: WebQuality = Field(default=WebQuality())
    """Rule sets for web pages, as published."""
    decontamination: Decontamination = Field(default=Decontamination())
    """Removal of documents that hold evaluation data."""
    pii: Pii = Field(default=Pii())
    """Personal data and keys."""
    near_duplicates: NearDuplicates = Field(default=NearDuplicates())
    """Near-duplicate removal."""
    annotate: Annotate = Field(default=Annotate())
    """Annotations of documents, by rules or by Amazon Comprehend."""
    splits: Splits = Field(default=Splits())
    """Splits."""
    questions: Questions = Field(default=Questions())
    """Questions."""
    tokenizer: str | None = Field(default=None, min_length=1)
    """DatasetManifest or its folder, directory, `s3://` prefix or Hugging Face id; null trains a byte-level BPE on the train split."""
    vocab_size: int = Field(default=4096, ge=300)
    """Token ids of a tokenizer that is trained, the special ones included."""
    sequence_length: int = Field(default=256, ge=8, le=65_536)
    """Tokens in a packed sequence."""
    formats: tuple[Format, ...] = Field(default=("safetensors",), min_length=1)
    """Forms of the packed sequences, `safetensors` and `webdataset` (tar files, a sample a sequence), and of the rows: JSON lines
    are always written, `parquet` beside them."""
    shard_tokens: int = Field(default=2**25, ge=1024)
    """Tokens of a shard at most, padding included. At five bytes a token 33,554,432 are 160 MB: from 100 MB to 1 GB a shard, S3 and
    SageMaker's FastFile mode read at full speed."""
    tokenizer_sample_characters: int = Field(default=50_000_000, ge=1)
    """Most text that a tokenizer is trained on; of more a fair sample is taken."""
    seed: int = Field(default=0, ge=0)
    """Decides the order of the packed sequences."""
    engine: EngineName = Field(default="local", exclude=True)
    """Where the row stages run: `local`, `spark` or `glue`; the dataset is the same."""
    workers: int | None = Field(default=None, ge=1, exclude=True)
    """Processes of `engine: local`; null: one a core."""
    slice_bytes: int = Field(default=32 * 2**20, ge=1, exclude=True)
    """Bytes of the source that a worker takes at a time, and what a killed run loses at most of a worker's work; a file that
    is not of JSON lines, and an object in S3, is always read by one worker."""
    spark: Spark = Field(default=Spark(), exclude=True)
    """Spark cluster."""
    glue: Glue = Field(default=Glue(), exclude=True)
    """Glue job."""

    @model_validator(mode="after")
    def _settings_take_effect(self) -> Self:
        if "questions" in self.model_fields_set and (self.view, self.source.kind) != ("chat", "python_stdlib"):
            raise ValueError("questions are for view: chat of source.kind: python_stdlib; leave them out")
        if self.annotate.pii == "mask" and self.source.kind == "python_stdlib":
            raise ValueError("annotate.pii masks documents, and source.kind is python_stdlib, whose entries are no secret; leave it out")
        if not {"safetensors", "webdataset"} & set(self.formats):
            raise ValueError(f"formats {', '.join(self.formats)}: hold no packed sequences; add safetensors or webdataset")
        if "vocab_size" in self.model_fields_set and self.tokenizer is not None:
            raise ValueError("vocab_size is for a tokenizer that is trained, and one is given; leave one of them out")
        return self
