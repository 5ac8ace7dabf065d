"""The embedded stack of `luthier up`: PostgreSQL, NATS, Triton and our services as child processes."""
