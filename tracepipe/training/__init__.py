"""Supervised fine-tuning: rendering rows, checking what was rendered, training on exactly that."""
