"""Engines: ways to get text from a model."""
