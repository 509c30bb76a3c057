"""What runs, and when: settings, the graph of a run, its stages, their execution on Dask, records, results and uploads.

Arrays never travel through Dask: a step gets keys, reads what it needs from the store, computes with ``tasks``, writes
under its own key and returns a `StepResult`. Whatever has a key is never computed again.
"""
