"""The microservice chassis: how a service runs, and nothing of what it does."""
