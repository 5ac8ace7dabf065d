"""The command line: one module per noun. Results go to stdout, progress and errors to stderr."""
