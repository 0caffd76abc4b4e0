"""``python -m sparkowl`` is the ``sparkowl`` command."""

from sparkowl.cli.main import main

main()
