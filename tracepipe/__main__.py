"""`python -m tracepipe` is the command `tracepipe`."""

from tracepipe.cli import main

main()
