"""What is recorded of datasets and runs, and the views of it that are handed out."""
