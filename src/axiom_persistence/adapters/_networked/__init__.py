"""What the adapters that reach a server share."""
