"""The job model and what users do with jobs."""
