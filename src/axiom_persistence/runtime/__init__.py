"""Tasks, threads and the end of a process."""
