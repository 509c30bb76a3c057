"""Figures: arrays of a study in, PNG bytes out.

``study`` names the arrays a figure may ask for, ``gallery.figure_list`` draws every figure they suffice for, and
``picture.render_image`` draws one map on its own. Conventions of the package:

- matplotlib's ``Figure`` with the Agg canvas, never pyplot: no global state of windows, safe on a worker;
- the same arrays give the same bytes;
- maps of one kind share one colour scale and one field of view over all specimens, so that they can be compared;
- a masked pixel is white, every image has a scale bar, every axis its unit;
- colours can be told apart by colour-blind readers: viridis and cividis for maps, Okabe and Ito's for domains.
"""
