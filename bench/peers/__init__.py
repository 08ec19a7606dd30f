"""niwaki beside other engines: the same networks, turn and turn about, each engine in a process of its own.

`run.py` is the command. Only `networks` and `export` need torch, and `engines` runs in each engine's own environment.
"""
