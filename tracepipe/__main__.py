"""`python -m tracepipe` is the command `tracepipe`."""

from tracepipe.cli import main

if __name__ == "__main__":
    main()
