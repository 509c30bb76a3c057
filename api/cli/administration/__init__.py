"""Commands for whoever runs a service: API keys, certificates, clearing up, checking and copying what is stored."""
