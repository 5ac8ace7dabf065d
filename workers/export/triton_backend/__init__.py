"""What runs inside Triton. The two modules here are copied into every exported Triton model as they are."""
