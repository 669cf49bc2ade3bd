"""Benchmarks that are made for a GPU; on a CPU they run at a tiny size."""
