"""The method an adapter was trained by. Needs no torch, for the server asks as well as the process of the model."""

import json
from pathlib import Path


def method_of(adapter: Path) -> str:
    """peft's word for it, such as `LORA` or `PREFIX_TUNING`."""
    return str(json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["peft_type"])
