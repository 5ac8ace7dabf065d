"""How a base model becomes trainable: one function per method, by the name that the job file uses."""

from collections.abc import Callable

from peft import PeftModel
from transformers import PreTrainedModel

from luthier.spec import MethodSpec
from workers.training.methods.lora import add_lora

METHODS: dict[str, Callable[[PreTrainedModel, MethodSpec], PeftModel]] = {"lora": add_lora}
