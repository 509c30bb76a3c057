"""What wraps every request: security headers, API keys, CORS, entity tags and metrics."""
