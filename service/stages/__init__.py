"""What computes each stage: one file a stage, and in it the function of that name.

In the order of a run: orientation, reconstruct, couple, spectra, fit, maps, references, domains, figures, results
(`service.workflow.graph` draws who needs whom). Each reads what the unit needs, computes with ``tasks``, writes under the
unit's key and says what came of it. Arguments that name other units hold their keys.

A worker loads the file of a stage with the first unit of it, so no stage waits for what only others import.
"""
