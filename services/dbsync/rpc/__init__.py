"""dbsync's gRPC face."""
