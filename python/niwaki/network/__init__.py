"""Compiled networks: made from modules or files, called like modules, looked at, saved."""
