import fcntl
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
from dask.utils import parse_timedelta
from distributed.cli import dask_worker

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "ptyxas.slurm"
ARRAY = SCRIPT.with_name("ptyxas-workers.slurm")

SERVICE_DOUBLE = """#!{python}
# Stands in for `ptyxas serve`: one task through the scheduler, as the service would submit it.
import os
from distributed import Client, Security

security = Security(
    tls_ca_file=os.environ["PTYXAS_TLS_CA"], tls_client_cert=os.environ["PTYXAS_SCHEDULER_TLS_CERTIFICATE"],
    tls_client_key=os.environ["PTYXAS_SCHEDULER_TLS_KEY"], require_encryption=True,
)
address = os.environ["PTYXAS_SCHEDULER"]
with Client(address, security=security, timeout=300) as client:
    client.wait_for_workers(1, timeout=300)
    print("RESULT", address.split(":")[0], client.submit(sum, [40, 2]).result(timeout=300), flush=True)
{then}
"""
PTYXAS_DOUBLE = """#!/bin/bash
[ "$1" = serve ] && exec {service}
exec {python} -m api.cli "$@"
"""


DATABASE_DOUBLES = {
    "initdb": """#!/bin/bash
mkdir -p "$2"; echo 17 > "$2/PG_VERSION"
""",
    "postgres": """#!/bin/bash
echo "DATABASE $*" >&2; exec sleep 600
""",
    "pg_isready": "#!/bin/bash\n",
}
"""Stand in for PostgreSQL, which does not run as root: they are called as its programs are."""


@pytest.mark.parametrize("script", [SCRIPT, ARRAY], ids=lambda path: path.name)
def test_directives_stand_before_the_first_command(script: Path) -> None:
    lines = script.read_text().splitlines()
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [line for line in lines if line.startswith("#SBATCH")]
    assert all(line in lines[:first_command] for line in directives)
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", "\n".join(directives), re.M))
    assert len(options) == len(directives)
    assert options["cpus-per-task"] == "1"
    assert {"time", "mem-per-cpu"} <= options.keys()
    assert {"nodes", "ntasks-per-node"} <= options.keys() or "array" in options


def install(folder: Path, name: str, text: str) -> None:
    program = folder / name
    program.write_text(text)
    program.chmod(0o755)


@contextmanager
def job(folder: Path, then: str = "", database_url: str = "postgresql+psycopg://given") -> Iterator[subprocess.Popen[str]]:
    """The script under way, its service doing ``then`` after its one task."""
    programs = folder / "venv" / "bin"
    programs.mkdir(parents=True, exist_ok=True)
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
        "PTYXAS_DATABASE_URL": database_url,
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


def test_the_job_ends_when_its_scheduler_dies(tmp_path: Path) -> None:
    with job(tmp_path, then="import time; time.sleep(600)") as process:
        assert process.stdout is not None
        for line in process.stdout:
            assert not line.startswith("DATABASE"), "one was given"
            if line.startswith("RESULT"):
                break
        [scheduler] = [one for one in psutil.Process(process.pid).children() if "scheduler" in one.cmdline()]
        scheduler.kill()
        output, _ = process.communicate(timeout=600)
    assert process.returncode == 1, output
    assert "the scheduler, the workers or the database ended" in output


def test_the_job_is_a_working_cluster_with_a_certificate_and_a_database_of_its_own(tmp_path: Path) -> None:
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    for name, text in DATABASE_DOUBLES.items():
        install(programs, name, text)
    stale = tmp_path / "data" / "postgresql" / "postmaster.pid"
    stale.parent.mkdir(parents=True)
    stale.write_text("a killed job left this")
    with job(tmp_path, then='print("CATALOGUE", os.environ["PTYXAS_DATABASE_URL"])', database_url="") as process:
        output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert "RESULT tls 42" in output, output
    assert list((tmp_path / "data" / "slurm").iterdir()) == [], "the job's key outlived the job"
    (socket,) = re.findall(r"CATALOGUE postgresql\+psycopg://ptyxas@/postgres\?host=(\S+)", output)
    assert f"DATABASE -D {stale.parent} -c listen_addresses= -c unix_socket_directories={socket}" in output
    assert (stale.parent / "PG_VERSION").read_text() == "17\n", "the database was made"
    assert not stale.exists()
    assert not Path(socket).exists()


def test_a_second_job_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / "slurm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with job(tmp_path) as process:
            output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "another job uses" in output


def test_a_worker_of_the_array_is_called_as_dask_understands_it(tmp_path: Path) -> None:
    for name in ("bin", "certs"):
        (tmp_path / name).mkdir()
    for name in ("ca", "certificate", "key"):
        (tmp_path / "certs" / f"ptyxas-{name}.pem").touch()
    install(tmp_path / "bin", "dask", '#!/bin/bash\nprintf "%s\\n" "$@"\n')
    given = {"PTYXAS_HOME": str(tmp_path), "PTYXAS_SCHEDULER": "tls://vm:8786", "PTYXAS_CERTS": str(tmp_path / "certs")}
    environment = {"PATH": os.environ["PATH"], **given}
    done = subprocess.run(["bash", ARRAY], env=environment, capture_output=True, text=True, timeout=30, check=True)
    parsed = dask_worker.main.make_context("dask worker", done.stdout.splitlines()[1:]).params
    assert (parsed["scheduler"], parsed["n_workers"], parsed["nthreads"]) == ("tls://vm:8786", "1", 1)
    assert parse_timedelta(parsed["lifetime"]) + parse_timedelta(parsed["lifetime_stagger"]) < 4 * 3600
    assert parsed["tls_key"] == str(tmp_path / "certs" / "ptyxas-key.pem")


@pytest.mark.parametrize("missing", ["PTYXAS_HOME", "PTYXAS_DATA_DIR", "SLURM_JOB_ID"])
def test_a_missing_setting_is_named(missing: str, tmp_path: Path) -> None:
    given = {"PTYXAS_HOME": str(tmp_path), "PTYXAS_DATA_DIR": str(tmp_path), "SLURM_JOB_ID": "1"}
    environment = {"PATH": os.environ["PATH"], **{name: value for name, value in given.items() if name != missing}}
    done = subprocess.run(["bash", SCRIPT], env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert missing in done.stderr
