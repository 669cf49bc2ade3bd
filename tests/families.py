"""Random-weight checkpoints of real architectures with the chat templates of their families, made in a second."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

TEMPLATES = Path(__file__).parent / "templates"
_TEXT = ["What is 2 + 2? The answer is 4. First we add, then we carry; so it follows that x = 10.", "question answer"]


@dataclass(frozen=True)
class Family:
    """What a family's tokenizer and template have of their own; `trl` names the template that TRL ships for it."""

    architecture: str
    template: str
    trl: str
    end: str
    pad: str
    bos: str | None = None
    others: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        return (TEMPLATES / f"{self.template}.jinja").read_text(encoding="utf-8")


FAMILIES = {
    "qwen2.5": Family("qwen2", "qwen2_5", "qwen2_5", "<|im_end|>", "<|endoftext|>", others=("<|im_start|>",)),
    "qwen3": Family("qwen3", "qwen3", "qwen3", "<|im_end|>", "<|endoftext|>", others=("<|im_start|>",)),
    "r1-distill": Family(
        "qwen2",
        "r1_distill",
        "deepseek_r1_distill",
        "<｜end▁of▁sentence｜>",
        "<｜pad｜>",
        "<｜begin▁of▁sentence｜>",
        ("<｜User｜>", "<｜Assistant｜>"),
    ),
    "llama3.1": Family(
        "llama",
        "llama3_1",
        "llama3_1",
        "<|eot_id|>",
        "<|finetune_right_pad_id|>",
        "<|begin_of_text|>",
        ("<|start_header_id|>", "<|end_header_id|>"),
    ),
}


@cache
def tokenizer(name: str) -> Any:
    """A byte-level tokenizer with a family's special tokens and template; think tags stay in the text."""
    from transformers import PreTrainedTokenizerFast

    family = FAMILIES[name]
    inner = Tokenizer(BPE())
    inner.pre_tokenizer = ByteLevel(add_prefix_space=False)
    inner.decoder = ByteLevelDecoder()
    inner.train_from_iterator(
        _TEXT, BpeTrainer(vocab_size=300, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=family.end, pad_token=family.pad, bos_token=family.bos
    )
    made.add_special_tokens({"additional_special_tokens": list(family.others)})
    made.add_tokens(["<think>", "</think>"])
    made.chat_template = family.source
    return made


def checkpoint(name: str, folder: Path, hidden: int = 32, layers: int = 2) -> Path:
    """Write a random-weight checkpoint of a family and return its folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    made = tokenizer(name)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        FAMILIES[name].architecture,
        vocab_size=len(made),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=hidden // 4,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        eos_token_id=made.eos_token_id,
        bos_token_id=made.bos_token_id,
        pad_token_id=made.pad_token_id,
        initializer_range=0.1,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder
