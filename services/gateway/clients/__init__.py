"""The gateway's ports over gRPC: the only place that knows protobuf."""
