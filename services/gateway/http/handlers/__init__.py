"""The handlers: check, call, reply; and their routes."""
