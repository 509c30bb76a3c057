"""Near-edge spectra: eq. 1, its fit to every pixel, masks and reference spectra."""
