"""Processes and threads that run beside each other: started, watched, started again."""
