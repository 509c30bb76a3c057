"""The stages of a run, one file each, and the pipeline that wires them.

In the order of a run: orientation, reconstruct, couple, spectra, fit, maps, references, domains, results, figures. Each file,
or the folder of coupling with its parts, holds frozen dataclasses (`service.workflow.step.Step`): the options and inputs of the
stage, its version, the arrays it stores, and ``run(context)``, which reads, computes with ``tasks`` and writes.

The service builds graphs from these classes, so importing a stage loads no numerics: functions import JAX, numba,
scikit-image, scikit-learn and matplotlib where they call them, on the worker that runs the step.
"""
