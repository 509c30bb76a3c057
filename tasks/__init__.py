"""What is computed: arrays and options in, arrays out. No files, no HTTP, no cluster.

Conventions of the package (``docs/conventions.md``):

- axes in this order: E energy, P scan position, M probe mode, Y X object, N N detector;
- the complex object is ``O = exp(-A + i phi)``: A >= 0 is the AMPLITUDE absorption (the intensity's is 2A), phi < 0 in matter;
- positions are the probe's, (y, x) in metres, y down and x right as in the array;
- units at a boundary are in the name (``energy_ev``, ``pixel_size_m``, ``shift_px``), counts of things are ``n_``;
- energies ascend; projected densities are per square metre.

A wrong argument is an exception (``tasks.errors``); a bad pixel is data (a status in a map).
"""
