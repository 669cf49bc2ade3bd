"""Dagster resources: adapters from Dagster to `tracepipe`, and nothing else."""
