"""The provider in a process of its own."""

from tests.provider import main

main()
