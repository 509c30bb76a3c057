"""Where arrays live: datasets, finished steps, results and the catalogue. No science, no HTTP, no cluster.

Conventions of the package:

- ``layout`` is the one table of what is stored: path, dimensions, dtype, chunks and unit of every array;
- nothing becomes visible half-written: everything is built in a hidden directory beside its place, flushed to disk,
  and put in place by one rename (``atomic``);
- every stored chunk has exactly one writer (``chunks``);
- a file from outside is hostile until read: links out of a file, unknown filters and bombs are refused
  (``readers.containers``), and every fault of a scan is reported at once, by field;
- counts are stored with the beam centre at pixel ``N // 2`` of both axes, masks are true where the pixel is good,
  positions are the probe's, (y, x) in metres.
"""
