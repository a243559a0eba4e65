"""Parts of `tools.serve` and `tools.serve_check`: batches, the application, the server, a client, a container file."""
