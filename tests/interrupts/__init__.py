"""Ctrl-C, at whatever moment."""
