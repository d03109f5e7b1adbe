"""The loops that do the work, and their supervision."""
