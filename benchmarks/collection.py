"""How fast and how lean collection is, against a fake provider in a process of its own.

    python benchmarks/collection.py [--prompts 100000] [--rounds 3]

- latency: answers take 2 s, 256 requests in flight: the rate over the ideal 128 requests a second (target: 0.95),
  between the first 2 s and the last, in which requests are only begun or only awaited; the whole run's beside it.
- ceiling: answers take no time: the rate over that of a bare loop over the SDK, `responses.create` in as many tasks,
  which keeps nothing (target: 0.9); rounds alternate and the medians count.
- memory: many prompts, from asking to the finished table: the peak of this process, MB (target: below 600), and how
  much of it came after the first tenth.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import openai
import polars as pl

from tracepipe.collection import collect
from tracepipe.engines.base import body_of
from tracepipe.home import CHECKOUT
from tracepipe.identity import prompt_id
from tracepipe.journal import Journal, Sink
from tracepipe.outputs import read_outputs
from tracepipe.target import Target

IN_FLIGHT = 256
SLOW = 2.0


@contextlib.contextmanager
def provider(latency: float) -> Iterator[Target]:
    """Serve the fake provider of the tests and yield a target that points to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tests.provider", "--port", str(port), "--latency", str(latency)]
    with subprocess.Popen(command, cwd=CHECKOUT) as server:
        try:
            _wait_for(port)
            yield Target(
                name="bench",
                model="m",
                api="responses",
                base_url=f"http://127.0.0.1:{port}/v1",
                exposes="summary",
                open=False,
                price={"input": 1, "output": 10},
                limits={"concurrency": IN_FLIGHT},
                max_output_tokens=200,
                probe=0,
                budget_usd=1e6,
            )
        finally:
            server.kill()


def _wait_for(port: int) -> None:
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)


def prompts_of(count: int, name: str) -> pl.DataFrame:
    """Return that many prompts of some hundred characters."""
    texts = [f"{name} {number}: " + "How many of the first numbers are prime? " * 6 for number in range(count)]
    return pl.DataFrame({"prompt_id": [prompt_id(text) for text in texts], "prompt": texts})


def collect_rate(target: Target, prompts: pl.DataFrame, folder: Path) -> float:
    """Collect, and return the requests per second."""
    journal = Journal(folder / "journal.jsonl")
    started = time.perf_counter()
    collect(
        prompts, target, base_url=target.base_url, journal=journal, trace_sink=Sink(Journal(folder / "traces.jsonl"))
    )
    return prompts.height / (time.perf_counter() - started)


def bare_rate(target: Target, prompts: pl.DataFrame) -> float:
    """Ask the same with nothing but the SDK, and return the requests per second."""

    async def ask_all() -> None:
        api = openai.AsyncOpenAI(api_key="none", base_url=target.base_url, max_retries=0)
        queue = iter(prompts["prompt"])

        async def work() -> None:
            for prompt in queue:
                await api.responses.create(**body_of(target, prompt))

        async with api, asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(work())

    started = time.perf_counter()
    asyncio.run(ask_all())
    return prompts.height / (time.perf_counter() - started)


def measure_latency() -> tuple[float, float]:
    """Return the sustained rate at 2 s latency over the ideal one, and the whole run's."""
    count, ideal = 20 * IN_FLIGHT, IN_FLIGHT / SLOW
    with provider(SLOW) as target, tempfile.TemporaryDirectory() as folder:
        whole = collect_rate(target, prompts_of(count, "waiting"), Path(folder))
        entries = Journal(Path(folder, "journal.jsonl")).entries()
        times = sorted(datetime.fromisoformat(one["at"]).timestamp() for one in entries if one["kind"] == "response")
    begin, end = times[0], times[-1] - SLOW
    rate = sum(begin < time <= end for time in times) / (end - begin)
    print(f"latency  {rate:.1f} requests/s of an ideal {ideal:.0f}: {rate / ideal:.3f}", flush=True)
    print(f"latency  {whole:.1f} requests/s over the whole run: {whole / ideal:.3f}", flush=True)
    return rate / ideal, whole / ideal


def measure_ceiling(rounds: int) -> float:
    """Return the rate without latency over the bare loop's."""
    bare, ours = [], []
    with provider(0) as target:
        for number in range(rounds):
            prompts = prompts_of(4000, f"round {number}")
            bare.append(bare_rate(target, prompts))
            with tempfile.TemporaryDirectory() as folder:
                ours.append(collect_rate(target, prompts, Path(folder)))
            print(f"ceiling  bare {bare[-1]:.0f}/s, collect {ours[-1]:.0f}/s", flush=True)
    return statistics.median(ours) / statistics.median(bare)


def measure_memory(count: int) -> tuple[float, float]:
    """Return the peak of a process that collects and reads that many rows, and of one that does a tenth, MB."""
    with provider(0) as target:
        tenth, whole = (_peak(target, size) for size in (count // 10, count))
    print(f"memory   {whole:.0f} MB at {count} prompts, {tenth:.0f} MB at {count // 10}", flush=True)
    return whole, tenth


def _peak(target: Target, count: int) -> float:
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    process = context.Process(target=_collect_and_read, args=(target.model_dump_json(), count, answer))
    process.start()
    process.join()
    return float(answer.get())


def _collect_and_read(target_json: str, count: int, answer: "multiprocessing.SimpleQueue[float]") -> None:
    target, prompts = Target.model_validate_json(target_json), prompts_of(count, f"memory {count}")
    with tempfile.TemporaryDirectory() as folder:
        rate = collect_rate(target, prompts, Path(folder))
        rows = read_outputs(prompts, target, Journal(Path(folder, "journal.jsonl")))
        size = Path(folder, "journal.jsonl").stat().st_size / 1e6
    if not (rows.height == count and rows["outcome"].eq("ok").all()):
        raise RuntimeError("rows are missing")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory   {count} rows at {rate:.0f}/s, journal {size:.0f} MB, peak {peak:.0f} MB", flush=True)
    answer.put(peak)


def main() -> None:
    """Run the three measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    latency, whole_run = measure_latency()
    ceiling = measure_ceiling(options.rounds)
    whole, tenth = measure_memory(options.prompts)
    figures = {
        "latency_share_of_ideal": round(latency, 4),
        "latency_share_of_ideal_whole_run": round(whole_run, 4),
        "ceiling_share_of_bare_sdk": round(ceiling, 4),
        "prompts": options.prompts,
        "peak_mb": round(whole),
        "peak_mb_of_a_tenth": round(tenth),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
