"""The commands; users'\'' commands speak through `gateway.client` alone."""
