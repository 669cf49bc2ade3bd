"""vLLM's adapters, held against what vLLM's own sources take: the package itself needs a GPU's stack."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.families import checkpoint, tokenizer
from tests.stand_ins.vllm import SIGNATURES
from tests.vllm_signatures import reader, signatures
from tracepipe.engines.generation import Call, EngineError, Generated, call_of, open_engine
from tracepipe.engines.ray_data import finish_reason, processor_config, row_of
from tracepipe.engines.settings import RayDataEngine, Sampling, TransformersEngine, VllmEngine, VllmServer
from tracepipe.engines.vllm import engine_arguments, read, sampling_arguments
from tracepipe.engines.vllm_server import completion_body, server_options
from tracepipe.serving import ServingError

CHECKOUT = Path(__file__).parents[3]
PROMPTS = [f"What is {number} + {'1' * (number % 4)}?" for number in range(9)]
SAMPLING = Sampling(temperature=0.9, top_p=0.95, top_k=50, repetition_penalty=1.1, max_new_tokens=20)
COMMAND = ("{python}", "-m", "tests.stand_ins.serve", "serve", "{model}", "--host", "127.0.0.1", "--port", "{port}")

NOT_SET = {
    "watermarking": "applies a watermark where the operator has configured one, which is not ours to switch off",
    "output_kind": "set where the package is imported, since it is an enumeration of vLLM's",
    "logprob_token_ids": "of no use without logprobs",
    "flat_logprobs": "of no use without logprobs",
    "stream_interval": "nothing is streamed",
    "skip_clone": "internal",
    "output_text_buffer_length": "internal",
    "extra_args": "for plug-ins",
    "skip_reading_prefix_cache": "decides speed alone",
    "routed_experts_prompt_start": "for mixtures of experts that return their routes",
    "trace_decode_token_ids": "replays a text instead of writing one",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint("llama3.1", tmp_path_factory.mktemp("model"))


def test_every_field_that_decides_a_text_is_set():
    fields = {name for name in SIGNATURES["SamplingParams"] if not name.startswith("_")}
    set_here = set(sampling_arguments(SAMPLING, 1, [2]))
    assert set_here <= fields
    assert fields - set_here == set(NOT_SET)
    assert sampling_arguments(SAMPLING, 1, [2])["max_tokens"] == 20
    assert "FINAL_ONLY" in SIGNATURES["RequestOutputKind"]


def test_what_the_engine_is_started_with_is_what_it_takes():
    arguments = engine_arguments("m", VllmEngine(tensor_parallel=2, max_model_len=4096))
    assert set(arguments) <= {*SIGNATURES["LLM.__init__"], *SIGNATURES["EngineArgs"]}
    assert (arguments["trust_remote_code"], arguments["generation_config"]) == (False, "vllm")


def test_what_a_request_holds_is_what_the_server_takes_and_nothing_less_than_offline():
    call = Call("r_ff", "text", [1, 2, 3])
    body = completion_body("m", call, SAMPLING, [7])
    assert set(body) <= set(SIGNATURES["CompletionRequest"])
    offline = {name: value for name, value in sampling_arguments(SAMPLING, 255, [7]).items() if value is not None}
    assert {name: body[name] for name in offline if name != "detokenize"} == {
        name: value for name, value in offline.items() if name != "detokenize"
    }
    assert "token_ids" in SIGNATURES["CompletionResponseChoice"]
    assert SIGNATURES["health"] == ["/health"]


def test_what_is_read_of_an_output_is_what_it_has():
    assert {"prompt_token_ids", "outputs"} <= set(SIGNATURES["RequestOutput"])
    assert {"token_ids", "finish_reason"} <= set(SIGNATURES["CompletionOutput"])
    assert {"prompts", "sampling_params", "use_tqdm"} <= set(SIGNATURES["LLM.generate"])


@pytest.mark.parametrize("reason", ["abort", "error", "repetition", None])
def test_a_row_that_vllm_gave_up_is_no_text(reason: str | None):
    assert {"abort", "error", "repetition"} == set(SIGNATURES["finish reasons"]) - {"stop", "length"}
    with pytest.raises(EngineError, match="r_1: vLLM gave the row up"):
        read(tokenizer("llama3.1"), Call("r_1", "", [1]), [5, 6], reason, [2])


def test_signatures_are_read_from_an_unpacked_package(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        signatures(reader(tmp_path))
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "sampling_params.py").write_text("class SamplingParams:\n    n: int = 1\n    m = 2\n")
    assert reader(tmp_path)("vllm/sampling_params.py").startswith("class SamplingParams")


def answers(engine: Any, log: Path, folder: Path) -> dict[str, Generated]:
    opened = open_engine(engine, str(folder), log)
    try:
        calls = [call_of(opened.tokenizer, f"r_{n + 1:x}", prompt) for n, prompt in enumerate(PROMPTS)]
        return {one.key: one for one in opened.generate(calls, SAMPLING)}
    finally:
        opened.close()


@pytest.fixture
def expected(folder: Path, tmp_path: Path) -> dict[str, Generated]:
    return answers(TransformersEngine(), tmp_path / "unused", folder)


def test_offline_engine_and_server_return_the_records_of_the_transformers_engine(
    folder: Path, tmp_path: Path, expected: dict[str, Generated], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(str(CHECKOUT / "tests" / "stand_ins"))
    monkeypatch.chdir(CHECKOUT)
    assert answers(VllmEngine(), tmp_path / "unused", folder) == expected
    assert answers(VllmServer(command=(*COMMAND, "--trouble")), tmp_path / "server.log", folder) == expected
    assert {one.finish_reason for one in expected.values()} <= {"stop", "length"}


@pytest.fixture
def running(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that somebody else has started."""
    from tracepipe.engines.vllm_server import Server

    monkeypatch.chdir(CHECKOUT)
    server = Server(str(folder), VllmServer(command=(*COMMAND, "--served-model-name", "named")), tmp_path / "log")
    yield server._url
    server.close()


def test_a_running_server_is_used_by_its_url_and_left_running(
    running: str, folder: Path, tmp_path: Path, expected: dict[str, Generated]
):
    elsewhere = VllmServer(url=running, served_model="named")
    assert (elsewhere.gpus, elsewhere.identity()["base_url"]) == (0, running)
    assert answers(elsewhere, tmp_path / "unused", folder) == expected
    assert answers(elsewhere, tmp_path / "unused", folder) == expected
    with pytest.raises(EngineError, match=r"refused it \(404\): .*there is no model"):
        answers(VllmServer(url=running), tmp_path / "unused", folder)


def test_a_server_that_does_not_start_says_why(folder: Path, tmp_path: Path):
    broken = VllmServer(command=("{python}", "-c", "raise SystemExit('no GPU here')"))
    with pytest.raises(ServingError, match=r"vLLM's server for .* ended with status 1:\nno GPU here"):
        open_engine(broken, str(folder), tmp_path / "server.log")


def test_servers_options_are_the_offline_engines_arguments():
    options = server_options("m", VllmServer(tensor_parallel=4, enforce_eager=True, max_num_seqs=8))
    assert options == [
        "--tokenizer",
        "m",
        "--dtype",
        "auto",
        "--tensor-parallel-size",
        "4",
        "--gpu-memory-utilization",
        "0.9",
        "--max-num-seqs",
        "8",
        "--enforce-eager",
        "--generation-config",
        "vllm",
        "--seed",
        "0",
    ]
    named = {name.removeprefix("--").replace("-", "_") for name in options if name.startswith("--")}
    assert named <= set(SIGNATURES["EngineArgs"])


def test_ray_data_takes_tokens_and_gives_tokens(folder: Path):
    """Ray's own configuration is real here; the stage that runs vLLM is not built without it."""
    config = processor_config(str(folder), RayDataEngine(workers=3, batch_rows=16, tensor_parallel=2))
    assert (config.concurrency, config.batch_size) == (3, 16)
    stages = (config.chat_template_stage, config.tokenize_stage, config.detokenize_stage)
    assert not any(stages)
    assert set(config.engine_kwargs) - {"task_type"} <= {*SIGNATURES["EngineArgs"]}
    row = row_of(Call("r_5", "text", [1, 2]), SAMPLING, [9])
    assert (row["tokenized_prompt"], row["sampling_params"]["seed"]) == ([1, 2], 5)
    assert set(row["sampling_params"]) <= set(SIGNATURES["SamplingParams"])
    assert json.loads(json.dumps(row)) == row


def test_ray_data_passes_no_finish_reason_on_so_it_is_read_off_the_tokens():
    call, sampling = Call("r_1", "", [1]), Sampling(max_new_tokens=3)
    assert finish_reason(call, [4, 9], sampling, [9]) == "stop"
    assert finish_reason(call, [4, 4, 4], sampling, [9]) == "length"
    with pytest.raises(EngineError, match="r_1: vLLM gave the row up after 1 tokens"):
        finish_reason(call, [4], sampling, [9])
