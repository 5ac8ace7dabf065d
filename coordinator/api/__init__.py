"""The coordinator's gRPC: one module per service, and what stands in front of them."""
