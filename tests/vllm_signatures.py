"""Read what our adapters use of vLLM from its sources, without importing or installing it.

python -m tests.vllm_signatures WHEEL_OR_FOLDER > tests/data/vllm-VERSION.json
"""

import ast
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

Read = Callable[[str], str]

FILES = {
    "SamplingParams": ("vllm/sampling_params.py", "SamplingParams"),
    "RequestOutputKind": ("vllm/sampling_params.py", "RequestOutputKind"),
    "EngineArgs": ("vllm/engine/arg_utils.py", "EngineArgs"),
    "CompletionOutput": ("vllm/outputs.py", "CompletionOutput"),
    "TokensPrompt": ("vllm/inputs/llm.py", "TokensPrompt"),
    "CompletionRequest": ("vllm/entrypoints/openai/completion/protocol.py", "CompletionRequest"),
    "CompletionResponseChoice": ("vllm/entrypoints/openai/completion/protocol.py", "CompletionResponseChoice"),
}


def fields(tree: ast.Module, name: str) -> list[str]:
    """The annotated fields and the plain members of a class."""
    (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    annotated = [
        node.target.id for node in found.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    plain = [
        one.id
        for node in found.body
        if isinstance(node, ast.Assign)
        for one in node.targets
        if isinstance(one, ast.Name)
    ]
    return annotated + plain


def arguments(tree: ast.Module, name: str, method: str) -> list[str]:
    """The named arguments of a method."""
    (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    defined = [node for node in found.body if isinstance(node, ast.FunctionDef) and node.name == method][-1]
    return [one.arg for one in (*defined.args.args, *defined.args.kwonlyargs) if one.arg != "self"]


def reader(place: Path) -> Read:
    """A function from a file's name in the package to its text."""
    if place.is_dir():
        return lambda name: (place / name).read_text(encoding="utf-8")
    wheel = zipfile.ZipFile(place)
    return lambda name: wheel.read(name).decode()


def signatures(read: Read) -> dict[str, list[str]]:
    """Class or method to the names it takes or has."""
    found = {name: fields(ast.parse(read(file)), of) for name, (file, of) in FILES.items()}
    llm = ast.parse(read("vllm/entrypoints/llm.py"))
    outputs = ast.parse(read("vllm/outputs.py"))
    reasons = ast.parse(read("vllm/v1/engine/__init__.py"))
    (strings,) = [
        node.value
        for node in reasons.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FINISH_REASON_STRINGS"
    ]
    return found | {
        "LLM.__init__": arguments(llm, "LLM", "__init__"),
        "LLM.generate": arguments(llm, "LLM", "generate"),
        "RequestOutput": arguments(outputs, "RequestOutput", "__init__"),
        "finish reasons": list(ast.literal_eval(strings)),
        "health": ["/health"] if '"/health"' in read("vllm/entrypoints/serve/instrumentator/health.py") else [],
        "serve": ["serve"] if "ServeSubcommand" in read("vllm/entrypoints/cli/serve.py") else [],
    }


if __name__ == "__main__":
    print(json.dumps(signatures(reader(Path(sys.argv[1]))), indent=1))
