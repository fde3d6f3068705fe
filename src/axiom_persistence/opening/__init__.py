"""From an address such as "notes" to a persistence that can be opened."""
