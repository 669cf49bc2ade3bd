"""The report of one target: its comparison table, plots, fidelity and gates as HTML and Markdown."""
