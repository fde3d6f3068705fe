"""Typed records over one adapter."""
