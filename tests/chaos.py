"""Collect from a provider that fails at random, kill the collector at random, and hold both sides' books together.

python -m tests.chaos --prompts 5000 --kills 20
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from tests.provider import LASTING
from tests.provider.replies import share
from tracepipe.collection import collect
from tracepipe.home import CHECKOUT
from tracepipe.identity import prompt_id
from tracepipe.journal import Journal, Sink
from tracepipe.outputs import read_attempts, read_outputs
from tracepipe.target import Target

FAULTS = 0.25
LATENCY = 0.1
CONCURRENCY = 32
_FATES = {"garbage": "parse_error", "cut": "truncated", "refuse": "refused", "no summary": "empty_summary"}


@dataclass(frozen=True)
class Chaos:
    """What came of it.

    Attributes:
        outputs: The table; `expected` are the outcomes that the provider's answers have.
        attempts: The client's account, TARGET_ATTEMPTS.
        billed: USD by request id, as the provider logged them.
        sent: When the provider had sent an answer to its end, by request id.
        kills: When the client was killed.
    """

    outputs: pl.DataFrame
    expected: list[str]
    attempts: pl.DataFrame
    billed: dict[str, float]
    sent: dict[str, float]
    kills: list[float]

    @property
    def unknown(self) -> set[str]:
        """Attempts that were under way at a kill."""
        return set(self.attempts.filter(result="unknown")["attempt"])

    @property
    def lost(self) -> list[float]:
        """Seconds from the end of sending to the kill, of answers that were sent before a kill and are not kept."""
        died = {one: min((kill - self.sent[one] for kill in self.kills if kill > self.sent[one]), default=0.0)
                for one in self.unknown & self.sent.keys()}  # fmt: skip
        begun = dict(self.attempts.select("attempt", "begun_at").iter_rows())
        return [gap for one, gap in died.items() if gap > 0 and self._alive(begun[one], self.sent[one])]

    def _alive(self, begun_at: str, sent: float) -> bool:
        """Whether no kill lies between the beginning of an attempt and the end of sending its answer."""
        begun = datetime.fromisoformat(begun_at).timestamp()
        return not any(begun <= kill <= sent for kill in self.kills)

    def figures(self) -> dict[str, float]:
        """What is promised, in numbers."""
        costs = dict(self.attempts.select("attempt", "cost_usd").drop_nulls().iter_rows())
        possible = dict(self.attempts.filter(pl.col("possible_usd") > 0).select("attempt", "possible_usd").iter_rows())
        return {
            "rows": self.outputs.height,
            "distinct_prompts": self.outputs["prompt_id"].n_unique(),
            "rows_with_another_outcome_than_answered": sum(
                got != wanted for got, wanted in zip(self.outputs["outcome"], self.expected, strict=True)
            ),
            "kills": len(self.kills),
            "attempts": self.attempts.height,
            "failed_attempts": self.attempts.filter(result="failed").height,
            "under_way_at_kills": len(self.unknown),
            "requests_answered_twice": sum(self._answers().values()) - len(self._answers()),
            "answers_sent_before_a_kill_and_lost": len(self.lost),
            "longest_of_these_before_the_kill_s": round(max(self.lost, default=0.0), 4),
            "billed_requests_unknown_to_the_ledger": len(self.billed.keys() - costs.keys() - possible.keys()),
            "known_costs_that_differ": sum(abs(usd - self.billed.get(one, 0.0)) > 1e-12 for one, usd in costs.items()),
            "possible_costs_too_low": sum(self.billed.get(one, 0.0) > usd for one, usd in possible.items()),
            "server_usd": round(sum(self.billed.values()), 6),
            "ledger_known_usd": round(sum(costs.values()), 6),
            "server_usd_of_what_the_ledger_holds_possible": round(sum(self.billed.get(one, 0) for one in possible), 6),
            "ledger_possible_usd": round(sum(possible.values()), 6),
        }

    def _answers(self) -> dict[str, int]:
        """How often each request was answered to the end, as far as the client saw or a kill kept it from seeing."""
        seen = set(self.attempts.filter(result="answered")["attempt"]) | (self.unknown & self.sent.keys())
        counted: dict[str, int] = {}
        for attempt in seen:
            key = attempt.rpartition(".")[0]
            counted[key] = counted.get(key, 0) + 1
        return counted


def run_chaos(folder: Path, prompts: int, kills: int, seed: int = 0) -> Chaos:
    """Collect that many prompts through that many kills."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log, draw = folder / "provider.jsonl", random.Random(seed)
    (folder / "target.json").write_text(_target(port).model_dump_json())
    command = [sys.executable, "-m", "tests.provider", "--port", str(port), "--log", str(log)]
    command += ["--faults", str(FAULTS), "--latency", str(LATENCY)]
    client = [sys.executable, "-m", "tests.chaos", "--collect", str(folder), "--prompts", str(prompts)]
    killed: list[float] = []
    with subprocess.Popen(command, cwd=CHECKOUT) as server:
        try:
            while len(killed) < kills:
                process = subprocess.Popen(client, cwd=CHECKOUT)
                _wait_until_asking(log, process)
                time.sleep(draw.uniform(0, 0.9))
                if process.poll() is not None:
                    break
                os.kill(process.pid, signal.SIGKILL)
                killed.append(time.time())
                process.wait()
            subprocess.run(client, cwd=CHECKOUT, check=True)
        finally:
            server.kill()
    return _both_sides(folder, log, prompts, killed)


def _wait_until_asking(log: Path, process: "subprocess.Popen[bytes]") -> None:
    size = log.stat().st_size if log.exists() else 0
    while process.poll() is None and (not log.exists() or log.stat().st_size == size):
        time.sleep(0.01)


def _target(port: int) -> Target:
    return Target(
        name="chaos",
        model="m",
        api="responses",
        base_url=f"http://127.0.0.1:{port}/v1",
        exposes="summary",
        open=False,
        price={"input": 1, "output": 10},
        limits={"concurrency": CONCURRENCY, "timeout_seconds": 1, "attempts": 8},
        max_output_tokens=200,
        budget_usd=1000,
    )


def _prompts(count: int) -> pl.DataFrame:
    texts = [f"chaos {number}" for number in range(count)]
    return pl.DataFrame({"prompt_id": [prompt_id(text) for text in texts], "prompt": texts})


def _collect(folder: Path, count: int) -> None:
    target = Target.model_validate_json((folder / "target.json").read_text())
    journal, sink = Journal(folder / "journal.jsonl"), Sink(Journal(folder / "traces.jsonl"))
    collect(_prompts(count), target, base_url=target.base_url, journal=journal, trace_sink=sink)


def _both_sides(folder: Path, log: Path, count: int, kills: list[float]) -> Chaos:
    target = Target.model_validate_json((folder / "target.json").read_text())
    journal, prompts = Journal(folder / "journal.jsonl"), _prompts(count)
    outputs = read_outputs(prompts, target, journal)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return Chaos(
        outputs=outputs,
        expected=[_expected(prompt) for prompt in prompts["prompt"]],
        attempts=read_attempts(outputs, journal),
        billed={event["request_id"]: event["usd"] for event in events if event["event"] == "billed"},
        sent={event["request_id"]: event["at"] for event in events if event["event"] == "sent"},
        kills=kills,
    )


def _expected(prompt: str) -> str:
    drawn = share("lasting", prompt)
    return _FATES[LASTING[int(drawn / FAULTS * len(LASTING))]] if drawn < FAULTS else "ok"


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--collect", type=Path)
    options = parser.parse_args()
    if options.collect:
        _collect(options.collect, options.prompts)
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run_chaos(Path(folder), options.prompts, options.kills, options.seed).figures(), indent=1))


if __name__ == "__main__":
    main()
