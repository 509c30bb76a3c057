"""Every choice a run leaves to its user, one frozen dataclass a stage.

Each class is at once the stage's argument, the JSON body, the OpenAPI text and the provenance record, so a
field's docstring is what a user reads. Unknown names are refused.
"""
