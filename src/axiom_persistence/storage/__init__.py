"""The contract of a place that keeps bytes, and what its implementers need."""
