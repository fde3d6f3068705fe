"""What users hold: the persistence, its transactions and its collections."""
