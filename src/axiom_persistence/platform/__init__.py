"""One operating system each: its files and its mounts."""
