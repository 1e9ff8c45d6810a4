"""Chat templates: a conversation as the model's prompt, in the sandbox and with the words that Hugging Face's templates expect."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Template
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmops_shared.contracts.exchange import Message


class Generation(Extension):
    """`{% generation %}` marks what an assistant said, for training; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own name and type

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_inside"), [], [], body).set_lineno(line)

    def _inside(self, caller: Macro) -> str:
        return str(caller())


def compile_template(source: str) -> Template:
    """The template, which cannot reach beyond its sandbox."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(source)


def render_chat(template: Template, messages: Sequence[Message], names: Mapping[str, Any]) -> str:
    """The prompt. Raises ValueError when the template refuses the messages."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        return template.render(messages=turns, tools=None, documents=None, add_generation_prompt=True, **names)
    except TemplateError as error:
        raise ValueError(f"the model's chat template refuses these messages: {error}") from error


def refuse(message: str) -> NoReturn:
    """`raise_exception` of a template."""
    raise TemplateError(message)


def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False) -> str:
    """Unlike jinja2's own filter it leaves characters as they are, for a prompt is no HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
