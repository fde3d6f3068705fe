"""How a store lies in Redis, and how it is talked to."""
