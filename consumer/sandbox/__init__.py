"""What holds a child process: system calls, limits, files and signals it may use."""
