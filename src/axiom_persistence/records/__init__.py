"""A value as it is stored: JSON in a checked record. No input or output."""
