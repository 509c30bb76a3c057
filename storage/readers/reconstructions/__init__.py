"""One module a file format of images, reconstructed objects or absorption, each returning ``images.ImageSource``."""
