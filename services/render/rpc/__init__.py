"""render's gRPC face."""
