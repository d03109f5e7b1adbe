"""The HTTP API: listeners, routes, identity, error bodies. No business logic."""
