"""The miniature world's vocabulary as a standard tokenizer with a ChatML template."""

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tracepipe.miniature.world import EASY_OPERATIONS, HARD_OPERATIONS, LABELS, MODULUS

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_WORDS = (
    "<unk>",
    "system",
    "user",
    "assistant",
    "start",
    "problem",
    "notes",
    "summary",
    "answer",
    "invert",
    "list",
    "\\boxed{",
    "}",
    *(str(value) for value in range(MODULUS)),
    *EASY_OPERATIONS,
    *HARD_OPERATIONS,
    *LABELS,
)
_THINK = ("<think>", "</think>")


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the word-level tokenizer every miniature model shares."""
    vocabulary = {word: index for index, word in enumerate((*_SPECIAL, *_WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in _THINK])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
