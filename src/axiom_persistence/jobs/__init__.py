"""Whatever walks a whole store."""
