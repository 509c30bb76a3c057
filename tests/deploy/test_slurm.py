import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "ptyxas.slurm"

SERVICE_DOUBLE = """#!{python}
# Stands in for `ptyxas serve`: one task through the scheduler, as the service would submit it.
import os
from distributed import Client, Security

security = Security(
    tls_ca_file=os.environ["PTYXAS_TLS_CA"], tls_client_cert=os.environ["PTYXAS_SCHEDULER_TLS_CERTIFICATE"],
    tls_client_key=os.environ["PTYXAS_SCHEDULER_TLS_KEY"], require_encryption=True,
)
address = os.environ["PTYXAS_SCHEDULER"]
with Client(address, security=security, timeout=60) as client:
    client.wait_for_workers(1, timeout=60)
    print("RESULT", address.split(":")[0], client.submit(sum, [40, 2]).result(timeout=60), flush=True)
{then}
"""
PTYXAS_DOUBLE = """#!/bin/bash
[ "$1" = serve ] && exec {service}
exec {python} -m api.cli "$@"
"""


def test_bash_understands_the_script() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True, timeout=30)


def test_directives_stand_before_the_first_command() -> None:
    lines = SCRIPT.read_text().splitlines()
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [line for line in lines if line.startswith("#SBATCH")]
    assert all(line in lines[:first_command] for line in directives)
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", "\n".join(directives), re.M))
    assert len(options) == len(directives)
    assert options["cpus-per-task"] == "1"
    assert {"nodes", "ntasks-per-node", "time", "mem-per-cpu"} <= options.keys()


def install(folder: Path, name: str, text: str) -> None:
    program = folder / name
    program.write_text(text)
    program.chmod(0o755)


@contextmanager
def job(folder: Path, then: str = "") -> Iterator[subprocess.Popen[str]]:
    """The script under way, its service doing ``then`` after its one task."""
    programs = folder / "venv" / "bin"
    programs.mkdir(parents=True)
    install(programs, "srun", '#!/bin/bash\nexec "$@"\n')
    install(programs, "python", f'#!/bin/bash\nexec {sys.executable} "$@"\n')
    install(programs, "dask", f'#!/bin/bash\nexec {sys.executable} -m dask "$@"\n')
    install(programs, "service", SERVICE_DOUBLE.format(python=sys.executable, then=then))
    install(programs, "ptyxas", PTYXAS_DOUBLE.format(python=sys.executable, service=programs / "service"))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "SLURM_JOB_ID": "17",
        "PTYXAS_HOME": str(folder / "venv"),
        "PTYXAS_DATA_DIR": str(folder / "data"),
    }
    process = subprocess.Popen(
        ["bash", SCRIPT], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def test_the_job_is_a_working_cluster_with_its_own_certificate(tmp_path: Path) -> None:
    with job(tmp_path) as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "RESULT tls 42" in output, output
    assert list((tmp_path / "data" / "slurm").iterdir()) == [], "the job's key outlived the job"


def test_the_job_ends_when_its_scheduler_dies(tmp_path: Path) -> None:
    with job(tmp_path, then="import time; time.sleep(600)") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("RESULT"):
                break
        [scheduler] = [one for one in psutil.Process(process.pid).children() if "scheduler" in one.cmdline()]
        scheduler.kill()
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert "the Dask scheduler or the workers ended" in output


@pytest.mark.parametrize("missing", ["PTYXAS_HOME", "PTYXAS_DATA_DIR", "SLURM_JOB_ID"])
def test_a_missing_setting_is_named(missing: str, tmp_path: Path) -> None:
    given = {"PTYXAS_HOME": str(tmp_path), "PTYXAS_DATA_DIR": str(tmp_path), "SLURM_JOB_ID": "1"}
    environment = {"PATH": os.environ["PATH"], **{name: value for name, value in given.items() if name != missing}}
    done = subprocess.run(["bash", SCRIPT], env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert missing in done.stderr
