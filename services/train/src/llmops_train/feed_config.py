"""Settings of how a trainer gets its data."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_shared.config import Config

InputMode = Literal["auto", "file", "copy", "fsx", "fastfile", "stream", "remote"]


class FeedConfig(Config):
    """How sequences reach the trainer; only `shuffle_sequences`, `range_bytes` and `lanes` decide their order."""

    input_mode: InputMode = Field(default="auto")
    """`file`: memory map of local files; `copy`: from S3 or a mount to a local disk first; `fsx`: FSx for Lustre; `fastfile`: SageMaker's
    FastFile, few files read forward; `stream`: ranges of S3 objects; `remote`: from other hosts; `auto`: planned, and the log says why."""
    mirror: str | None = Field(default=None, min_length=1)
    """Folder with the same shards as the dataset's, read in place of them: a mount of its bucket, or a channel of a training job."""
    shards: Literal["safetensors", "webdataset", "rows"] = Field(default="safetensors")
    """Form of the dataset that is read: packed sequences as `safetensors` or `webdataset` (tar files), or the `rows`,
    tokenized as they are needed, a row a sequence (what is longer is cut); the trainer's own is that of its feed with `remote`."""
    shuffle_sequences: int = Field(default=65536, ge=1)
    """Sequences shuffled among each other; two such windows are in memory when data is streamed."""
    range_bytes: int = Field(default=16 * 2**20, ge=4096)
    """Bytes of one tensor read in one go: 16 MiB are at most 64 requests a gigabyte."""
    lanes: int = Field(default=2, ge=1, le=64)
    """Shards read side by side."""
    workers: int = Field(default=4, ge=1, le=256)
    """Threads that read ahead or copy; `fastfile` always reads with one. It never changes the order."""
    copy_dir: str | None = Field(default=None)
    """Folder for `copy`, on a local NVMe disk if there is one; none: the system's folder for temporary files."""
    verify: Literal["digests", "sizes"] | None = Field(default=None)
    """What is checked before the start: sha256 of every shard (the default with `file`; `copy` always does) or sizes only, while tokens are
    checked as they are read (the default of the others)."""
    tokens_per_second: float | None = Field(default=None, gt=0)
    """Expected rate of the whole job, which `auto` plans by."""
    servers: list[str] = Field(default=[])
    """`host:port` of the processes of `llmops-train feed`; with `input_mode: remote`."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Longest wait for a range of S3, or for all hosts of `remote`."""

    @model_validator(mode="after")
    def check_servers(self) -> Self:
        if self.shards == "rows" and self.input_mode not in ("auto", "remote"):
            raise ValueError(f"shards rows are read whole from the dataset's folder, not by input_mode {self.input_mode}; leave it out")
        if (self.input_mode == "remote") != bool(self.servers):
            raise ValueError("servers (host:port of each `llmops-train feed`) go with input_mode remote, and only with it")
        for server in self.servers:
            host, colon, port = server.rpartition(":")
            if not (colon and host and port.isdigit()):
                raise ValueError(f"servers: {server!r} is no host:port")
        return self

    def identity(self) -> "FeedConfig":
        """What decides the order of the data: two configs with the same identity train the same model."""
        shards: Literal["rows", "safetensors"] = "rows" if self.shards == "rows" else "safetensors"  # tar files hold the same sequences
        return FeedConfig(shards=shards, shuffle_sequences=self.shuffle_sequences, range_bytes=self.range_bytes, lanes=self.lanes)


class FeedServerConfig(Config):
    """Settings of `llmops-train feed`."""

    dataset: str = Field(min_length=1)
    """DatasetManifest: its folder or file, the one that the trainers are given."""
    splits: list[str] = Field(default=["train"])
    """Splits opened at the start; others are opened when a trainer asks for them."""
    feed: FeedConfig = Field(default=FeedConfig())
    """How this host reads the data; what decides the order must be as the trainers have it."""
    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on; `0.0.0.0` for trainers on other hosts, within a security group that lets only them in."""
    port: int = Field(default=7077, ge=0, le=65535)
    """TCP port; 0: any free one, which the log names."""
    idle_s: float = Field(default=600.0, gt=0)
    """Seconds without any trainer after which it gives up."""

    @model_validator(mode="after")
    def check_feed(self) -> Self:
        if self.feed.input_mode == "remote":
            raise ValueError("a feed reads the data itself: feed.input_mode remote is for trainers")
        return self
