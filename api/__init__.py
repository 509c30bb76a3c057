"""What is served: one FastAPI application over the service.

Conventions: a route is at most 15 lines and decides nothing; it asks the service and shapes the answer.
Bodies and answers are the models of ``schemas``; every error is an RFC 9457 problem looked up by class in
``problems``. Nothing here knows an array, a chunk or a cluster.
"""
