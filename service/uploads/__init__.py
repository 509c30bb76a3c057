"""How measurements come in: announced digests, and the sandboxed parsing of uploaded files."""
