"""What knows Dask: the cluster, and the tasks that its workers run. Nothing outside this package imports `distributed`."""
