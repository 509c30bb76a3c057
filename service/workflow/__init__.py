"""What has to be done for a run, as plain data: inputs, steps, their graph and their progress. No Dask, no files."""
