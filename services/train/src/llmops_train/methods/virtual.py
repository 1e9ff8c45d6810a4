"""The forward pass over packed batches, with the virtual tokens of prompt and prefix tuning in front of every document.

What stands in front depends on nothing behind it, so all documents of a sequence share one copy: each sees the virtual tokens and
its own earlier tokens, counts its positions on from theirs, and no document sees another. The loss is that of each document alone.
"""

from typing import Any

import torch  # noqa: TID253 - this module is imported late

from llmops_train.data import Batch


def logits_of(model: Any, batch: Batch, wanted: torch.Tensor) -> torch.Tensor:
    """Logits of the `wanted` places of a batch, shape [places, vocabulary]; the output embedding is computed for no others."""
    num_virtual = num_in_front(model)
    in_text = slice(num_virtual, None) if "PROMPT_TUNING" in kinds_of(model) else slice(None)
    # The output embedding is up to half of a small model's arithmetic, and in chats most tokens are no targets
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda module, inputs: (inputs[0][:, in_text][wanted],))
    try:
        if not num_virtual:
            output = model(input_ids=batch.input_ids, position_ids=batch.position_ids, attention_mask=batch.attention_mask, use_cache=False)
        elif "PROMPT_TUNING" in kinds_of(model):
            output = behind_prompt(model, batch, num_virtual)
        else:
            output = behind_prefix(model, batch, num_virtual)
    finally:
        hook.remove()
    logits: torch.Tensor = output.logits
    return logits


def behind_prompt(model: Any, batch: Batch, num_virtual: int) -> Any:
    """Vectors in front of the embeddings; each sees those before it."""
    rows, length = batch.input_ids.shape
    embedded = model.word_embeddings(batch.input_ids)
    prompts = model.get_prompt(batch_size=rows).to(embedded.dtype)
    places = torch.arange(num_virtual, device=embedded.device)
    positions = torch.cat([places.expand(rows, -1), batch.position_ids + num_virtual], dim=1)
    above = torch.zeros(rows, 1, num_virtual, length, dtype=torch.bool, device=embedded.device)
    causal = (places[:, None] >= places[None, :]).expand(rows, 1, -1, -1)
    mask = torch.cat([torch.cat([causal, above], dim=3), with_front(batch, num_virtual)], dim=2)
    return model.base_model(
        inputs_embeds=torch.cat([prompts, embedded], dim=1), position_ids=positions, attention_mask=mask, use_cache=False
    )


def behind_prefix(model: Any, batch: Batch, num_virtual: int) -> Any:
    """Keys and values in front of those of every layer."""
    return model.base_model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids + num_virtual,
        attention_mask=with_front(batch, num_virtual),
        past_key_values=model.get_prompt(batch_size=len(batch.input_ids)),
        use_cache=False,
    )


def with_front(batch: Batch, num_virtual: int) -> torch.Tensor:
    """The batch's mask with `num_virtual` columns in front that every token sees."""
    rows, _, length, _ = batch.attention_mask.shape
    front = torch.ones(rows, 1, length, num_virtual, dtype=torch.bool, device=batch.attention_mask.device)
    return torch.cat([front, batch.attention_mask], dim=3)


def kinds_of(model: Any) -> frozenset[str]:
    """peft's words for the adapters that are at work."""
    return frozenset(str(settings.peft_type.value) for settings in getattr(model, "peft_config", {}).values())


def num_in_front(model: Any) -> int:
    """Virtual tokens in front of every document."""
    learnt = [settings for settings in getattr(model, "peft_config", {}).values() if settings.is_prompt_learning]
    return sum(settings.num_virtual_tokens for settings in learnt)
