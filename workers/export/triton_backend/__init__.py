"""What runs inside Triton. All modules here are copied into every exported Triton model as they are."""
