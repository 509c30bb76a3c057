"""What runs, and when: settings, the run's graph, the stages, the orchestrator that survives, and uploads.

Arrays never travel through Dask: a step gets keys, reads what it needs from the store, computes with
``tasks``, writes under its own key and returns a receipt. Whatever has a key is never computed again.
"""
