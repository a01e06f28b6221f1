"""Versioned SQLite databases whose durable home is an append-only log in an object store."""
