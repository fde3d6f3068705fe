"""The parts of the PostgreSQL adapter."""
