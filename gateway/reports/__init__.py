"""Accounting queries."""
