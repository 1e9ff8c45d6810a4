"""Instruction data in the shapes people publish it in, as conversations of one schema."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

from llmops_shared.contracts.exchange import Message

Role = Literal["system", "user", "assistant"]

ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
}  # fmt: skip
"""Names of the speakers: OpenAI's, ShareGPT's, OpenAssistant's, Gemma's."""
CALLS = {"function_call", "tool_call"}
RESULTS = {"observation", "tool", "function", "tool_response"}
COMPLETIONS = ("completion", "response", "answer")
HH_TURN = re.compile(r"\n\n(Human|Assistant):[ ]?")
"""How Anthropic's hh-rlhf writes a dialogue in one text."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation to learn from."""

    messages: tuple[Message, ...]
    """Its turns, the answer last; of a preference pair with the answer that was chosen."""
    rejected: tuple[Message, ...] = ()
    """The same turns with the answer that was not; empty where there is no pair."""
    metadata: dict[str, str] = field(default_factory=dict)
    """`shape`, and `label` where people were asked whether the answer is wanted."""


def conversations(value: object, messages_field: str = "messages") -> list[Conversation]:
    """The conversations in a record, its shape told by its keys. Raises ValueError for one that is none of the shapes.

    preference: `chosen` and `rejected`, whole dialogues or answers to `prompt`, `question`, `messages` or `conversations` ·
    messages: OpenAI's list of role and content · sharegpt: `conversations` of from and value · alpaca: `instruction`, `input`,
    `output`, `history` · self-instruct: `instruction` and `instances` · completion: `prompt` and `completion` or `response`.
    A `label` of false (KTO) marks an answer people did not want; it is kept as metadata, for the reader of the source to drop.
    """
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is needed, this is a {type(value).__name__}")
    shape, found = shaped(value, messages_field)
    label = {"label": str(value["label"]).lower()} if isinstance(value.get("label"), bool) else {}
    for item in found:
        check_turns(item.messages)
        if item.rejected:
            check_turns(item.rejected)
    return [Conversation(item.messages, item.rejected, {"shape": shape, **label}) for item in found]


def shaped(value: Mapping[str, object], messages_field: str) -> tuple[str, list[Conversation]]:
    """The name of the shape, and the conversations."""
    if "chosen" in value and "rejected" in value:
        return "preference", [preference(value, messages_field)]
    if messages_field in value:
        return "messages", [Conversation(joined(system(value), turns(value[messages_field])))]
    if "conversations" in value or "conversation" in value:
        return "sharegpt", [Conversation(joined(system(value), turns(value.get("conversations", value.get("conversation")))))]
    if "instruction" in value and "instances" in value:
        return "self-instruct", [alpaca({**value, **as_object(item)}) for item in as_list(value["instances"])]
    if "instruction" in value:
        return "alpaca", [alpaca(value)]
    if "prompt" in value:
        for name in COMPLETIONS:
            if name in value:
                return "completion", [Conversation(joined(system(value), asked(value["prompt"]), answered(value[name])))]
    raise ValueError(f"no shape of instruction data has the keys {', '.join(sorted(value)) or '(none)'}; name one with messages_field")


def preference(value: Mapping[str, object], messages_field: str) -> Conversation:
    """A pair of answers to one conversation."""
    before: tuple[Message, ...] = ()
    for name in (messages_field, "conversations", "prompt", "question", "instruction"):
        if name in value:
            before = alpaca_question(value) if name == "instruction" else asked(value[name])
            break
    chosen, rejected = answered(value["chosen"]), answered(value["rejected"])
    # a whole dialogue holds the prompt, which some sets give beside it as well
    if any(message.role == "user" for message in chosen):
        before = ()
    if not before and not any(message.role == "user" for message in chosen):
        raise ValueError("chosen and rejected answer nothing: neither holds a question, and there is no prompt")
    return Conversation(joined(system(value), before, chosen), joined(system(value), before, rejected))


def alpaca(value: Mapping[str, object]) -> Conversation:
    """Instruction with its input, and the output."""
    if "output" not in value:
        raise ValueError("has no field 'output'")
    past = [message for pair in as_list(value.get("history") or []) for message in exchange(as_list(pair))]
    return Conversation(joined(system(value), past, alpaca_question(value), said("assistant", value["output"])))


def exchange(pair: list[object]) -> tuple[Message, ...]:
    """A question and its answer. Raises ValueError for another number of texts."""
    if len(pair) != 2:
        raise ValueError(f"field 'history' must hold pairs of question and answer, one has {len(pair)} texts")
    return *said("user", pair[0]), *said("assistant", pair[1])


def alpaca_question(value: Mapping[str, object]) -> tuple[Message, ...]:
    """The instruction, and below it the input where there is one."""
    instruction, given = content_of(value["instruction"]), content_of(value.get("input") or "")
    return said("user", f"{instruction}\n\n{given}" if given.strip() else instruction)


def system(value: Mapping[str, object]) -> tuple[Message, ...]:
    """The system prompt beside the turns, and the tools the model may call, in the words of Hermes' and Qwen's templates."""
    parts = [content_of(value[name]) for name in ("system", "system_prompt") if value.get(name)]
    if value.get("tools"):
        tools = value["tools"]
        parts.append(f"<tools>\n{tools if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False)}\n</tools>")
    return said("system", "\n\n".join(parts)) if any(parts) else ()


def asked(prompt: object) -> tuple[Message, ...]:
    """A prompt: a text is the user's, a text in hh-rlhf's writing or a list is a conversation."""
    if isinstance(prompt, str):
        return tuple(dialogue(prompt)) if HH_TURN.match(prompt) else said("user", prompt)
    return tuple(turns(prompt))


def answered(answer: object) -> tuple[Message, ...]:
    """An answer: a text is the assistant's."""
    if isinstance(answer, str):
        return tuple(dialogue(answer)) if HH_TURN.match(answer) else said("assistant", answer)
    return tuple(turns([answer] if isinstance(answer, dict) else answer))


def dialogue(text: str) -> Iterator[Message]:
    """The turns of a text in hh-rlhf's writing; a speaker named twice in a row goes on speaking."""
    parts = HH_TURN.split(text)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    yield from merged((ROLES["user" if name == "Human" else "assistant"], words.strip()) for name, words in pairs)


def turns(value: object) -> Iterator[Message]:
    """Turns of {role, content} or {from, value}; calls of tools and their results keep their place, marked."""
    yield from merged(turn(as_object(item)) for item in as_list(value))


def turn(item: Mapping[str, object]) -> tuple[Role, str]:
    """Speaker and words of one turn."""
    name = item.get("role", item.get("from"))
    if not isinstance(name, str):
        raise ValueError("a turn has neither 'role' nor 'from'")
    text = content_of(item.get("content", item.get("value")))
    for call in as_list(item.get("tool_calls") or []):
        function = json.dumps(as_object(call).get("function", call), ensure_ascii=False)
        text = f"{text}\n<tool_call>\n{function}\n</tool_call>".strip()
    name = name.lower()
    if name in CALLS:
        return "assistant", f"<tool_call>\n{text}\n</tool_call>"
    if name in RESULTS:
        return "user", f"<tool_response>\n{text}\n</tool_response>"
    if name not in ROLES:
        raise ValueError(f"speaker {name!r} is none of {', '.join(sorted({*ROLES, *CALLS, *RESULTS}))}")
    return ROLES[name], text


def joined(*parts: Iterable[Message]) -> tuple[Message, ...]:
    """The parts as one conversation."""
    return tuple(merged((message.role, message.content) for part in parts for message in part))


def merged(pairs: Iterable[tuple[Role, str]]) -> Iterator[Message]:
    """Messages; what one speaker says in several turns without a break is one."""
    held: tuple[Role, str] | None = None
    for role, text in pairs:
        if held is not None and held[0] == role:
            held = role, f"{held[1]}\n\n{text}".strip()
            continue
        if held is not None:
            yield Message(role=held[0], content=held[1])
        held = role, text
    if held is not None:
        yield Message(role=held[0], content=held[1])


def content_of(value: object) -> str:
    """The words of a turn; of a list of typed parts those that are text, reasoning in `<think>`. Raises ValueError for pictures."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ValueError(f"a text is needed, this is a {type(value).__name__}")
    return "\n".join(part_of(as_object(part)) for part in value)


def part_of(part: Mapping[str, object]) -> str:
    """One typed part."""
    kind = part.get("type", "text")
    text = next((part[name] for name in ("text", "value", "content") if isinstance(part.get(name), str)), None)
    words = cast(str, text) if text is not None else json.dumps(part.get("value", part), ensure_ascii=False)
    match kind:
        case "text":
            return words
        case "reasoning":
            return f"<think>\n{words}\n</think>"
        case "tool_call" | "function_call":
            return f"<tool_call>\n{words}\n</tool_call>"
        case "tool_response" | "observation":
            return f"<tool_response>\n{words}\n</tool_response>"
    raise ValueError(f"content of type {kind!r} is no text")


def said(role: Role, text: object) -> tuple[Message, ...]:
    """One message."""
    return (Message(role=role, content=content_of(text)),)


def check_turns(messages: tuple[Message, ...]) -> None:
    """Raises ValueError unless user and assistant speak in turn, after at most one system prompt, and end with an answer."""
    roles = [message.role for message in messages]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2):
        raise ValueError(f"user and assistant must speak in turn and the assistant last, the turns are {roles}")
    empty = next((number for number, message in enumerate(messages, start=1) if not message.content.strip()), None)
    if empty is not None:
        raise ValueError(f"turn {empty} of {len(messages)} ({roles[empty - 1]}) says nothing")


def as_list(value: object) -> list[object]:
    """The list. Raises ValueError for anything else."""
    if not isinstance(value, list):
        raise ValueError(f"a list is needed, this is a {type(value).__name__}")
    return value


def as_object(value: object) -> Mapping[str, object]:
    """The object. Raises ValueError for anything else."""
    if not isinstance(value, dict):
        raise ValueError(f"an object is needed, this is a {type(value).__name__}")
    return value
