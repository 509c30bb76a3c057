"""Who may use the service: what a request shows of who sends it, and whose connection it comes by."""
