"""HTTP and WebSocket: the only place that knows JSON over the wire, headers, cookies and status codes."""
