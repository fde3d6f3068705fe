"""What the SQLite adapter is made of."""
