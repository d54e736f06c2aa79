"""What labs report is looked for in the archive; what is found there is told, nothing else."""
