"""The log of a training job in CloudWatch Logs, line by line as it comes."""

import sys
from typing import Any

GROUP = "/aws/sagemaker/TrainingJobs"


class JobLog:
    """Shows what is new in the log streams of a job; each host has one, named JOB/HOST-TIME."""

    def __init__(self, client: Any, job: str) -> None:
        self.client = client
        self.job = job
        self.tokens: dict[str, str | None] = {}

    def show(self) -> None:
        """Writes the new lines of every host to stderr, with the host's name where there are several."""
        for stream in self.streams():
            host = stream.rpartition("/")[2].rpartition("-")[0]
            for message in self.new_lines(stream):
                sys.stderr.write(f"[{host}] {message}\n" if len(self.tokens) > 1 else f"{message}\n")

    def streams(self) -> list[str]:
        """Names of the job's streams; none before its first line."""
        from botocore.exceptions import ClientError

        try:
            pages = self.client.get_paginator("describe_log_streams").paginate(logGroupName=GROUP, logStreamNamePrefix=f"{self.job}/")
            names = [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":  # the account's first job makes the group
                return []
            raise
        for name in names:
            self.tokens.setdefault(name, None)
        return names

    def new_lines(self, stream: str) -> list[str]:
        """The lines since the last look. An unchanged token means that there are no more."""
        lines: list[str] = []
        while True:
            token = self.tokens[stream]
            start = {"startFromHead": True} if token is None else {"nextToken": token}
            answer = self.client.get_log_events(logGroupName=GROUP, logStreamName=stream, **start)
            lines += [event["message"].rstrip("\n") for event in answer["events"]]
            self.tokens[stream] = answer["nextForwardToken"]
            if answer["nextForwardToken"] == token:
                return lines
