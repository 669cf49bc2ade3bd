"""Grading: reading the answer from a response and comparing it with the gold one."""
