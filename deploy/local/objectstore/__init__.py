"""A small S3-compatible object store for development, tests and self-hosting: aiohttp, an SQLite index, blob files."""
