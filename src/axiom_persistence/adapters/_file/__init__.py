"""What the file adapter is made of."""
