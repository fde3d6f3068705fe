"""What a stream of changes is made of."""
