"""TracePipe: measure how much of a model's reasoning leaks through what it shows."""

from importlib.metadata import version

__version__ = version("tracepipe")
