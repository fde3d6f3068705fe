"""What a cache is made of."""
