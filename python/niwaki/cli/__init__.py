"""The `niwaki` command: compress a network into a file, look into the file, time it."""

from niwaki.cli.entry import main

__all__ = ["main"]
