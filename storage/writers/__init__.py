"""Writers of the field's file formats."""
