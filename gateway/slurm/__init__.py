"""Slurm behind one protocol, and the hands of a site."""
