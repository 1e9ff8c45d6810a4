"""The process of one model: takes prompts from a pipe and sends tokens back.

A process of its own keeps a busy, hanging or dying model away from the HTTP server and from the other variants.
"""

import contextlib
import os
import signal
from collections import deque
from multiprocessing.connection import Connection

import torch  # noqa: TID253 - this module is imported late
from transformers.utils import logging as transformers_logging  # noqa: TID253

from llmops_serve.engines.batch import Batch, Row
from llmops_serve.engines.engine import FinishReason, Prompt, Sampling, Step
from llmops_serve.engines.load import end_tokens, load_model, use_threads
from llmops_serve.engines.messages import Cancel, Failed, Generate, Ready, Steps, Unloadable, WorkerSettings
from llmops_serve.engines.sampling import Choice
from llmops_serve.text import Decoder, ModelText
from llmops_shared.errors import LlmopsError

MAX_PREFILL_TOKENS = 4096  # prompt tokens, padding included, read in one go, so that running answers are not held up long


def serve(connection: Connection, settings: WorkerSettings) -> None:
    """Serves until the other end of the pipe closes."""
    # Ctrl-C and service managers signal the whole process group; the server decides when its models end, by closing the pipe
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    transformers_logging.disable_progress_bar()
    use_threads(settings.threads)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the server is gone, and so is the reason to work
        try:
            worker = Worker(connection, settings)
        except LlmopsError as error:
            connection.send(Unloadable(str(error)))
            return
        connection.send(Ready())
        with torch.inference_mode():
            while True:
                worker.turn()


class Worker:
    """A model, the batch it is stepping, and the answers that wait to join."""

    def __init__(self, connection: Connection, settings: WorkerSettings) -> None:
        self._connection = connection
        self._text = ModelText(settings.model)
        model = load_model(settings.model, settings.adapter)
        self._end_tokens = end_tokens(model)
        self._batch = Batch(model)
        self._max_batch_size = settings.max_batch_size
        self._waiting: deque[Answer] = deque()
        self._running: dict[int, Answer] = {}

    def turn(self) -> None:
        """Takes what arrived, lets waiting answers join, and steps the batch once."""
        self._receive()
        try:
            if joining := self._next_to_join():
                self._running.update({answer.number: answer for answer in joining})
                self._send(joining, self._batch.join([answer.row for answer in joining]))
            if self._running:
                running = list(self._running.values())
                self._send(running, self._batch.step())
        except (RuntimeError, IndexError) as error:  # out of memory, or a token the model does not know
            self._connection.send(Failed(list(self._running), f"{type(error).__name__}: {error}"))
            self._running.clear()
            self._batch.clear()

    def _receive(self) -> None:
        while self._connection.poll(None if not self._running and not self._waiting else 0):
            match self._connection.recv():
                case Generate(number, prompt, sampling):
                    self._waiting.append(Answer(number, prompt, sampling, self._text))
                case Cancel(number):
                    self._waiting = deque(answer for answer in self._waiting if answer.number != number)
                    if answer := self._running.pop(number, None):
                        self._batch.leave([answer.row])

    def _next_to_join(self) -> list["Answer"]:
        joining: list[Answer] = []
        longest = 0
        while self._waiting and len(self._running) + len(joining) < self._max_batch_size:
            longest = max(longest, len(self._waiting[0].row.prompt_ids))
            if joining and longest * (len(joining) + 1) > MAX_PREFILL_TOKENS:
                break
            joining.append(self._waiting.popleft())
        return joining

    def _send(self, answers: list["Answer"], choices: list[Choice]) -> None:
        steps = [answer.advance(choice, self._end_tokens) for answer, choice in zip(answers, choices, strict=True)]
        done = [answer for answer, step in zip(answers, steps, strict=True) if step.finish is not None]
        if done:
            self._batch.leave([answer.row for answer in done])
            for answer in done:
                del self._running[answer.number]
        self._connection.send(Steps([(answer.number, step) for answer, step in zip(answers, steps, strict=True)]))


class Answer:
    """One answer: its row of the batch and its text."""

    def __init__(self, number: int, prompt: Prompt, sampling: Sampling, text: ModelText) -> None:
        self.number = number
        self.row = Row(prompt.token_ids, sampling)
        self._text = text
        self._decoder = Decoder(text, prompt.token_ids, sampling.stop, sampling.keep_stop)

    def advance(self, choice: Choice, end_tokens: frozenset[int]) -> Step:
        """The step that a chosen token makes."""
        ends = choice.token_id in end_tokens
        text = "" if ends else self._decoder.add(choice.token_id)
        finish: FinishReason | None = None
        if self._decoder.stopped:
            finish = "stop_sequence"
        elif ends or self.row.num_new_tokens >= self.row.sampling.max_new_tokens:
            text += self._decoder.finish()
            finish = "stop_sequence" if self._decoder.stopped else "eos_token" if ends else "length"
        special = ends or choice.token_id in self._text.special_ids
        first = self.row.num_new_tokens == 1
        return Step(choice.token_id, text, choice.logprob, special, finish, self.row.prompt_logprobs if first else None)
