"""Adapters around adapters: each adds one ability."""
