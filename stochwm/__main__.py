"""`python -m stochwm`."""

from .cli import main

main()
