"""The services that render calls."""
