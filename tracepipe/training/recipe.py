"""How a model is fine-tuned: all that decides its weights, and nothing of where it runs."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tracepipe.spec import Spec


class Lora(Spec):
    """Low-rank adapters instead of full fine-tuning; they are merged into the saved weights."""

    rank: int = Field(32, gt=0)
    alpha: int = Field(64, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: str | tuple[str, ...] = Field("all-linear", description="modules, as PEFT names them")


class Recipe(Spec):
    """How a model is fine-tuned. Defaults are the paper's (full fine-tuning, three epochs, context 16,384)."""

    learning_rate: float = Field(1e-5, gt=0)
    epochs: float = Field(3, gt=0)
    max_steps: int | None = Field(None, gt=0, description="replaces epochs")
    batch_size: int = Field(24, gt=0, description="examples per optimiser step, over all devices")
    micro_batch_size: int = Field(1, gt=0, description="examples per forward pass where nothing is packed")
    packing: bool = Field(False, description="fill a forward pass with whole examples up to max_length, kept apart")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.0, ge=0)
    adam_beta2: float = Field(0.999, gt=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    max_length: int = Field(16384, gt=0, description="tokens; a longer row fails the render gate")
    bf16: bool = Field(True, description="compute in bfloat16")
    weights: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="type of the weights while they are trained; bfloat16 halves memory and rounds small updates away",
    )
    attention: str | None = Field(
        None, description="attention as transformers names it, such as flash_attention_2; None: the model's own"
    )
    gradient_checkpointing: bool = True
    lora: Lora | None = None
    validation: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0, description="share of the examples that is held out; the checkpoint with the lowest loss on them is kept"
    )
    validations: int = Field(6, gt=1, description="how often that loss is measured")

    @model_validator(mode="after")
    def _whole_batches(self) -> Self:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of micro_batch_size {self.micro_batch_size}"
            )
        return self
