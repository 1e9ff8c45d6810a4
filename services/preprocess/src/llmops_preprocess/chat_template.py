"""Chat templates, rendered as transformers renders them, without transformers."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmops_shared.contracts.exchange import Message
from llmops_shared.errors import LlmopsError

# role tokens of the tokenizers we train; the answer ends with the end-of-document token
ROLE_TOKENS = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)

# for a tokenizer that came without a template: plain words, so that no token has to be added to the model
PLAIN_ROLES = (
    "{BOS}{% for message in messages %}{{ message['role'] | capitalize + ': ' + message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


class ChatTemplate:
    """A compiled template with the special tokens it may name."""

    def __init__(self, source: str, special_tokens: Mapping[str, str], origin: str) -> None:
        self.special_tokens, self.origin = dict(special_tokens), origin
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
        environment.filters["tojson"] = to_json
        # no strftime_now: templates that would write today's date (Llama 3) then write a fixed one, the same in every run
        environment.globals.update(raise_exception=refuse)
        try:
            self.template = environment.from_string(source)
        except TemplateError as error:
            raise LlmopsError(f"{origin}: its chat template is not valid Jinja ({error}); mend it, or choose another tokenizer") from error

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
        """The conversation as the model sees it. Raises LlmopsError when the template refuses it."""
        turns = [message.model_dump() for message in messages]
        values: dict[str, Any] = {"tools": None, "documents": None, **self.special_tokens}
        try:
            return self.template.render(messages=turns, add_generation_prompt=add_generation_prompt, **values)
        except TemplateError as error:
            raise LlmopsError(f"{self.origin}: its chat template refuses a conversation ({error})") from error

    def split(self, messages: Sequence[Message]) -> tuple[str, str]:
        """What the model is given, and what it is to say. Raises LlmopsError when the first does not open the whole."""
        prompt, whole = self.render(messages[:-1], add_generation_prompt=True), self.render(messages)
        if not whole.startswith(prompt):
            raise LlmopsError(
                f"{self.origin}: its chat template does not render a question the same way with and without its answer, "
                f"so the answer cannot be told apart; choose another tokenizer, or mend its chat_template"
            )
        return prompt, whole[len(prompt) :]


class Generation(Extension):
    """`{% generation %}`, which marks answers for transformers' own masks; here it is nothing but its content."""

    tags = {"generation"}  # noqa: RUF012 - declared so by Jinja

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The statements between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, sort_keys: bool = False) -> str:
    """`tojson` of the templates: without Jinja's escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, sort_keys=sort_keys)


def refuse(message: str) -> NoReturn:
    """`raise_exception` of the templates."""
    raise TemplateError(message)
