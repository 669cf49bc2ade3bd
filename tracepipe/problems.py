"""What a study names: where its prompts come from, and what its students are asked in the end."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tracepipe.engines.settings import Fraction
from tracepipe.identity import data_stamps
from tracepipe.spec import Slug, Spec, resolve_data

Rule = Literal["exact", "ngram", "cover", "fuzzy"]


class Columns(Spec):
    """Which fields of a file hold what."""

    prompt: str = "prompt"
    source: str | None = None
    domain: str | None = None


class MiniaturePrompts(Spec):
    """Problems of the miniature world, drawn with the study's seed."""

    kind: Literal["miniature"]

    def identity(self) -> dict[str, Any]:
        """Return all that decides the rows, apart from the study's seed."""
        return self.model_dump(mode="json")


class _Data(Spec):
    path: str

    @field_validator("path")
    @classmethod
    def _resolved(cls, value: str, info: ValidationInfo) -> str:
        return resolve_data(value, info)

    def identity(self) -> dict[str, Any]:
        """Return all that decides the rows; a file that was edited is another one."""
        return self.model_dump(mode="json") | {"path": data_stamps(self.path)}


class FilePrompts(_Data):
    """Prompts by a column mapping: a JSONL or Parquet file, a folder of such files, or a hub id."""

    kind: Literal["file"]
    columns: Columns = Columns()


class OpenThoughtsPrompts(_Data):
    """OpenThoughts-114k in either published schema: a JSONL or Parquet file, a folder of such, or a hub id."""

    kind: Literal["openthoughts"]


class Splits(Spec):
    """How many prompts the surrogate and the target answer; the two sets share none."""

    surrogate: int = Field(gt=0)
    target: int = Field(gt=0)


class Prompts(Spec):
    """Where prompts come from. Without `splits` they are dealt out half and half."""

    source: Annotated[MiniaturePrompts | FilePrompts | OpenThoughtsPrompts, Field(discriminator="kind")]
    splits: Splits | None = None

    @model_validator(mode="after")
    def _drawn_world_needs_sizes(self) -> Self:
        if self.splits is None and isinstance(self.source, MiniaturePrompts):
            raise ValueError("splits: the miniature source has no size of its own; say how many prompts to draw")
        return self


class _Benchmark(Spec):
    samples: int = Field(1, gt=0, description="answers per item and student; paper: JEEBench 3, AIME 10, LCB 6")


class MiniatureBenchmark(_Benchmark):
    """Held-out problems of the miniature world: like the prompts, or with four hard operations."""

    kind: Literal["miniature"]
    name: Slug
    difficulty: Literal["in_distribution", "harder"]
    items: int = Field(gt=0)

    def identity(self) -> dict[str, Any]:
        """Return all that decides the items, apart from the study's seed."""
        return self.model_dump(mode="json")


class FileBenchmark(_Data, _Benchmark):
    r"""Problems with a gold answer from a JSONL file; graded by exact match of the last `\boxed{}`."""

    kind: Literal["file"]
    name: Slug
    prompt: str = "problem"
    gold: str = "answer"


class KnownBenchmark(_Benchmark):
    """A benchmark with a protocol of its own (`tracepipe.benchmarks`); without a path its items come from the hub."""

    kind: Literal["math500", "jeebench", "aime", "livecodebench", "humaneval_plus"]
    name: Slug
    path: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _named_for_its_kind(cls, content: Any) -> Any:
        return {"name": content.get("kind"), **content} if isinstance(content, dict) else content

    @field_validator("path")
    @classmethod
    def _resolved(cls, value: str | None, info: ValidationInfo) -> str | None:
        return None if value is None else resolve_data(value, info)

    def identity(self) -> dict[str, Any]:
        """Return all that decides the items; a file that was edited is another one."""
        return self.model_dump(mode="json") | {"path": None if self.path is None else data_stamps(self.path)}


Benchmark = Annotated[MiniatureBenchmark | FileBenchmark | KnownBenchmark, Field(discriminator="kind")]


class SummaryStyle(Spec):
    """How far the compressor's summaries may be from the target's before nothing is inverted from them."""

    factor: float = Field(2.5, gt=1, description="median length and compression, either way")
    points: float = Field(
        25, gt=0, le=100, description="shares of bold headers, first person, LaTeX; percentage points"
    )


class Decontamination(Spec):
    """Which prompts are left out because a benchmark asks much the same; see `tracepipe.prompts.decontamination`."""

    rules: tuple[Rule, ...] = ("exact", "ngram", "cover", "fuzzy")
    ngram: int = Field(13, gt=1, description="rule ngram: words in a row that prompt and item share")
    cover_ngram: int = Field(8, gt=1, description="rule cover: words in a row ...")
    cover_share: Fraction = Field(0.5, description="... that together make up so much of the item")
    fuzzy_ratio: float = Field(95, gt=50, le=100, description="rule fuzzy: similarity of prompt and short item, %")
