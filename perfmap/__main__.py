"""``python -m perfmap`` does what ``perfmap`` does."""

from perfmap.cli import main

main()
