"""What a target's journal says: by request key what was asked, what came of it, and what it cost.

Each line of a journal is one entry, `kind` says which:

- `attempt`: about to be sent. `attempt, request_key, number, round, at, delivery, worst_usd, price[, shard]`.
- `response`: a body as it came. `attempt, request_key, at, seconds, body`.
- `failure`: no response. `attempt, request_key, at, reason, outcome, possible_usd, final`.
- `reopened`: to be asked again by the user's own wish. `request_key, at, round`.
- `batch`, `batch_done`: a shard's batch id once it is known, and that its results are in.
- `purged`: what is left of a journal after `tracepipe lineage purge`, its sums. `id, at, paid_usd, possible_usd`.

Entries may be repeated, and those of different requests may stand in any order: the books come out the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tracepipe.engines.reading import Usage, usage_of
from tracepipe.journal import Journal
from tracepipe.spec import SpecError


@dataclass(frozen=True, slots=True)
class Pending:
    """An attempt that nothing is known of yet. It may be billed, at most at `worst_usd`."""

    request_key: str
    number: int
    round: int
    worst_usd: float
    input_price: float
    output_price: float
    shard: str | None

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "Pending":
        """Read an `attempt` entry."""
        input_price, output_price = entry["price"]
        return cls(
            request_key=entry["request_key"],
            number=entry["number"],
            round=entry["round"],
            worst_usd=entry["worst_usd"],
            input_price=input_price,
            output_price=output_price,
            shard=entry.get("shard"),
        )

    def cost(self, usage: Usage) -> float:
        """Price what was used, USD."""
        return (usage.input_tokens * self.input_price + usage.output_tokens * self.output_price) / 1e6


@dataclass(frozen=True, slots=True, order=True)
class Settled:
    """What an attempt came to. In order: a later round counts more, within a round the earlier attempt.

    Attributes:
        round: How often the request had been reopened.
        earlier: Minus the attempt's number.
        offset: Where its line begins in the journal, bytes.
        cost_usd: What it cost; None where the response does not say.
    """

    round: int
    earlier: int
    offset: int = field(compare=False)
    cost_usd: float | None = field(compare=False)


@dataclass(slots=True)
class Account:
    """All about one request key."""

    attempts: int = 0
    round: int = 0
    response: Settled | None = None
    failure: Settled | None = None

    @property
    def settled(self) -> bool:
        """Whether it needs not be asked: it was answered or given up since it was last reopened."""
        return any(one is not None and one.round >= self.round for one in (self.response, self.failure))


class Books:
    """The state that a journal's entries add up to.

    Attributes:
        paid_usd: What the responses cost.
        possible_usd: What failed attempts, and responses that do not say, may have cost at most.
        pending: Attempts without a result, by id. What they may cost is in `pending_usd`.
        batches: Batch id by shard; None where it is not known whether the batch was created.
    """

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.pending: dict[str, Pending] = {}
        self.batches: dict[str, str | None] = {}
        self.paid_usd = 0.0
        self.possible_usd = 0.0
        self.pending_usd = 0.0
        self._done: set[str] = set()
        self._purged: set[str] = set()

    @classmethod
    def of(cls, journal: Journal) -> "Books":
        """Add up a journal.

        Raises:
            SpecError: If it holds what is no entry.
        """
        books = cls()
        for offset, entry in journal.placed():
            if "kind" not in entry:
                raise SpecError(
                    f"{journal.path}: the line at byte {offset} is no entry of a journal; an earlier TracePipe wrote "
                    "other ones: move the file elsewhere to begin a new journal"
                )
            books.enter(entry, offset)
        return books

    @property
    def committed_usd(self) -> float:
        """What may have been spent at most."""
        return self.paid_usd + self.possible_usd + self.pending_usd

    def account(self, key: str) -> Account:
        """Return the account of a request key."""
        return self.accounts.setdefault(key, Account())

    def waiting(self, keys: Iterable[str]) -> list[str]:
        """Return the keys that are still to be asked, in their order."""
        return [key for key in keys if key not in self.accounts or not self.accounts[key].settled]

    def enter(self, entry: dict[str, Any], offset: int) -> float | None:
        """Add one entry that stands at an offset; returns what a response cost, USD, if it says so."""
        kind = entry["kind"]
        if kind == "attempt":
            self._begin(entry)
        elif kind == "response":
            return self._respond(entry, offset)
        elif kind == "failure":
            self._fail(entry, offset)
        elif kind == "reopened":
            account = self.account(entry["request_key"])
            account.round = max(account.round, entry["round"])
        elif kind == "batch" and entry["shard"] not in self._done:
            self.batches[entry["shard"]] = entry["batch"]
        elif kind == "purged" and entry["id"] not in self._purged:
            self._purged.add(entry["id"])
            self.paid_usd += entry["paid_usd"]
            self.possible_usd += entry["possible_usd"]
        elif kind == "batch_done":
            self._done.add(entry["shard"])
            self.batches.pop(entry["shard"], None)
        return None

    def _begin(self, entry: dict[str, Any]) -> None:
        pending, account = Pending.of(entry), self.account(entry["request_key"])
        if pending.number <= account.attempts:
            return
        account.attempts = pending.number
        self.pending[entry["attempt"]] = pending
        self.pending_usd += pending.worst_usd
        if pending.shard and pending.shard not in self._done:
            self.batches.setdefault(pending.shard, None)

    def _settle(self, entry: dict[str, Any]) -> Pending | None:
        pending = self.pending.pop(entry["attempt"], None)
        if pending:
            self.pending_usd -= pending.worst_usd
        return pending

    def _respond(self, entry: dict[str, Any], offset: int) -> float | None:
        pending = self._settle(entry)
        if pending is None:
            return None
        usage = usage_of(entry["body"])
        cost = pending.cost(usage) if usage else None
        if cost is None:
            self.possible_usd += pending.worst_usd
        else:
            self.paid_usd += cost
        account = self.account(pending.request_key)
        settled = Settled(pending.round, -pending.number, offset, cost)
        account.response = max(account.response or settled, settled)
        return cost

    def _fail(self, entry: dict[str, Any], offset: int) -> None:
        pending = self._settle(entry)
        if pending is None:
            return
        self.possible_usd += entry["possible_usd"]
        if entry["final"]:
            account = self.account(pending.request_key)
            settled = Settled(pending.round, -pending.number, offset, None)
            account.failure = max(account.failure or settled, settled)
