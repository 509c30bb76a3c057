"""ASGI middleware around every request, one module each: metrics, security, internal errors, CORS, API keys, entity tags."""
