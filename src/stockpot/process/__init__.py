"""What a process and its operating system tell each other: signals to stop, and CPU limits."""
