"""`python -m aerodrome.cli`: the same as the `aerodrome` command."""

from aerodrome.cli.main import main

main()
