"""The web pages: templates, one stylesheet and scripts, nothing from elsewhere."""
