"""Labs: who is there, and which models they serve."""
