"""What the layer that encrypts is made of."""
