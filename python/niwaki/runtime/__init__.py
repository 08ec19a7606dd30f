"""What runs a network from a file, with numpy alone: loading, calls, streams, plans, inspection.

Nothing here needs torch, nor anything of niwaki but the core and the errors; tests/python/test_layers.py keeps it so.
"""
