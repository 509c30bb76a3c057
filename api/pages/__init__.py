"""The web page: one template, one stylesheet, one script, nothing from elsewhere."""
