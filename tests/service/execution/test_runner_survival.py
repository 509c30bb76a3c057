"""The service's process is killed with SIGKILL at any moment: the next one finishes the run and redoes nothing finished."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from service.records.run_repository import RunRepository
from storage.artifacts import ArtifactStore
from storage.catalogue.catalogue import Catalogue
from tasks.options.run import OPTIONS

WAIT_S = 240
"""A service starts in seconds, but in minutes on a machine that is busy with others."""

SERVICE = textwrap.dedent(
    '''
    """A service with made-up datasets and small fake stages, until it is killed or its run has ended."""
    import sys, time
    from pathlib import Path
    from service.workflow.inputs import RunInput, ScanInput
    from service.records.run_repository import RunRepository
    from service.execution.runner import Runner
    from service.execution.dask.cluster import Cluster
    from service.settings import DataPaths, Settings
    from storage.catalogue.catalogue import Catalogue
    from tasks.ptycho.scan import Canvas

    def load_inputs(ids, options):
        canvas = Canvas((64, 64), 1.5e-8, (0.0, 0.0))
        scans = tuple(ScanInput(f"s{i}", 5420.0 + 10 * i, 16, 32, str(i), canvas) for i in range(12))
        return [RunInput(name, name, "g", "LiVO2", {"element": "V", "edge": "K"}, {}, scans) for name in ids]

    def make_work():
        def work(request, report, is_cancelled):
            import time
            import numpy as np
            from service.execution.worker import StepResult
            from storage.artifacts import ArtifactStore
            step, store = request.step, ArtifactStore(request.paths.artifacts)
            if store.has(step.key):
                return StepResult("done")
            time.sleep(0.1)
            inputs = [store.read(key, "x")["x"] for key in step.inputs]
            store.write(step.key, {"x": sum(inputs, np.ones(3))}, {})
            (request.paths.runs / f"{step.key}.{time.time_ns()}.log").touch()
            return StepResult("done", is_computed=True)
        return work

    class SparingCluster(Cluster):
        """Made-up steps need none of the libraries that workers load ahead."""
        def load_ahead(self):
            pass

    if __name__ == "__main__":
        folder = Path(sys.argv[1])
        settings = Settings(data_dir=folder, workers=2, dashboard_port=0)
        records = RunRepository(Catalogue(settings.catalogue_url))
        paths = DataPaths.of(settings)
        runner = Runner(records, paths, load_inputs, make_work(), keep_rounds=True)
        cluster = SparingCluster(settings, runner.hear_progress)
        cluster.start()
        runner.start(cluster)
        while records.unfinished_runs():
            time.sleep(0.05)
        runner.stop()
        cluster.stop()
    '''
)


@pytest.mark.parametrize("deaths", [(10,)])
def test_a_run_survives_the_death_of_its_service(tmp_path: Path, deaths: tuple[int, ...]) -> None:
    """Each time it is killed in the middle of a step, when so many steps have been computed since its start."""
    script = tmp_path / "service_process.py"
    script.write_text(SERVICE)
    data = tmp_path / "data"
    runs = data / "runs"
    runs.mkdir(parents=True)
    catalogue = Catalogue(f"sqlite:///{data}/catalogue.sqlite")
    records = RunRepository(catalogue)

    def state() -> str:
        view = records.view("run_1")
        assert view is not None
        return view.state

    options = {"reconstruct": {"cycles": 20, "start_from": "optics"}, "kkr": {"start": 10, "every": 10}}
    records.open_run("run_1", "", ["ds_a"], OPTIONS.validate_python(options))

    def launch() -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with (tmp_path / "log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, str(script), str(data)], stdout=log, stderr=log, env=environment, cwd=tmp_path
            )

    for n_steps in deaths:
        n_before = len(list(runs.glob("*.log")))
        process = launch()
        until = time.monotonic() + WAIT_S
        while len(list(runs.glob("*.log"))) < n_before + n_steps:
            assert time.monotonic() < until, f"too few steps were computed: {(tmp_path / 'log').read_text()[-2000:]}"
            time.sleep(0.02)
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert state() == "running"
    process = launch()
    assert process.wait(timeout=WAIT_S) == 0, (tmp_path / "log").read_text()[-2000:]
    assert state() == "succeeded"
    keys = [path.name.split(".")[0] for path in runs.glob("*.log")]
    assert len(keys) == len(set(keys)), "a finished step was computed again"
    finished = set(ArtifactStore(data / "units").keys())
    assert len(finished) == 33
    # a worker may be killed between a step's rename and its line in the log, once for each worker and death
    assert set(keys) <= finished
    assert len(finished - set(keys)) <= 2 * len(deaths)
    catalogue.close()
