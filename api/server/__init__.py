"""The HTTP server that runs the application, and the limits of its connections."""
