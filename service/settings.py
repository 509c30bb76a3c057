"""Everything an operator can set, environment ``PTYXAS_<NAME>`` or ``ptyxas serve --<name>``, and where the data then are."""

import ipaddress
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage.atomic import remove_tree, write_file
from storage.location import Location, ObjectPath, bucket_of

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
MEBIBYTE = 1024**2


class Settings(BaseSettings):
    """Settings of one service; the defaults are those of a laptop."""

    model_config = SettingsConfigDict(
        env_prefix="PTYXAS_", extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )

    data_dir: Path = Path("ptyxas-data")
    """Folder of the catalogue, datasets, finished steps and results; workers must see the same folder, or ``storage`` is set."""
    storage: str | None = None
    """Object store of datasets, finished steps and results, as ``s3://bucket/prefix``, with the endpoint and the credentials of
    the usual ``AWS_*`` variables; none keeps them in ``data_dir``."""
    host: str = "127.0.0.1"
    """Address to listen on; beyond loopback only with ``api_keys_file``."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one."""
    workers: Annotated[int, Field(ge=1)] = Field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """Worker processes of the embedded cluster, one thread each."""
    worker_memory_bytes: Annotated[int, Field(ge=256 * MEBIBYTE)] | None = None
    """Memory of one embedded worker; none shares the machine's memory out evenly."""
    scheduler: str | None = None
    """Address of an existing Dask scheduler, e.g. ``tls://10.0.0.1:8786``; none starts an embedded cluster."""
    allow_plain_tcp: bool = False
    """Accept a ``tcp://`` scheduler on another machine: whoever reaches it can run code as the service, so its network must
    keep others out by other means."""
    dashboard_port: Annotated[int, Field(ge=0, le=65535)] = 8787
    """Port of the embedded cluster's dashboard, on loopback; 0 takes a free one."""
    database_url: str | None = None
    """SQLAlchemy address of the catalogue; none keeps SQLite in ``data_dir``."""
    api_keys_file: Path | None = None
    """File of hashed API keys; none serves loopback only, without keys."""
    local_access: Literal["own-user", "token", "everyone"] = "own-user"
    """Who may use a service without keys: the user who runs it, others with its token; all with the token; or everyone on this
    machine. The token is in the file ``token`` of ``data_dir``."""
    cors_origins: tuple[str, ...] = ()
    """Web origins, such as ``https://portal.facility.org``, whose pages may use the API in their visitors' browsers."""
    allowed_hosts: tuple[str, ...] = ()
    """Further names under which this machine's own users reach a service without keys, e.g. through a proxy."""
    register_roots: tuple[Path, ...] = ()
    """Folders from which measurements may be registered in place; ``{project}`` in one stands for the key's project."""
    max_upload_bytes: Annotated[int, Field(ge=1)] = 32 * 1024 * MEBIBYTE
    """Largest file accepted as one scan."""
    max_project_bytes: Annotated[int, Field(ge=1)] | None = None
    """Bytes that the scans of one project may take on disk, what is arriving included; none for no limit."""
    max_unfinished_runs: Annotated[int, Field(ge=1)] | None = None
    """Runs that one project may have queued or running; none for no limit."""
    max_run_cost: Annotated[float, Field(gt=0)] | None = None
    """Largest run accepted, as cycles x frames x pixels of a frame, over all energies, with pilots, probe modes, corrections of
    positions and couplings; none for no limit."""
    keep_rounds: bool = False
    """Keep the rounds and couplings that only later ones needed when a run has succeeded; else they go at once."""
    min_free_bytes: Annotated[int, Field(ge=0)] = 512 * MEBIBYTE
    """Uploads and runs are refused when less disk than this is free."""
    ingest_memory_bytes: Annotated[int, Field(ge=256 * MEBIBYTE)] = 2 * 1024 * MEBIBYTE
    """Address space of the subprocess that parses one uploaded file; four may run at once."""
    ingest_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """Longest time that parsing one uploaded file may take."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """How much is logged, to standard error: ``info`` tells of every run, scan and write."""
    log_format: Literal["text", "json"] = "text"
    """Lines for people, or one JSON object a line for programs; both name run, dataset and step."""
    tls_certificate: Path | None = None
    """PEM file that makes the service speak HTTPS; needs ``tls_key`` as well."""
    tls_key: Path | None = None
    """PEM file of the certificate's private key."""
    tls_ca: Path | None = None
    """PEM file of the authority that signs the certificates of a ``tls://`` scheduler and of its clients."""
    scheduler_tls_certificate: Path | None = None
    """PEM file of the service's certificate for a ``tls://`` scheduler; none takes ``tls_certificate``."""
    scheduler_tls_key: Path | None = None
    """PEM file of that certificate's private key; none takes ``tls_key``."""

    @model_validator(mode="after")
    def _strangers_need_keys(self) -> Self:
        if self.host not in LOOPBACK_HOSTS and self.api_keys_file is None:
            raise ValueError(f"host {self.host!r} is reachable from the network: give api_keys_file, or listen on 127.0.0.1")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key are given together or not at all")
        if (self.scheduler_tls_certificate is None) != (self.scheduler_tls_key is None):
            raise ValueError("scheduler_tls_certificate and scheduler_tls_key are given together or not at all")
        return self

    @field_validator("storage")
    @classmethod
    def _storage_is_a_bucket(cls, storage: str | None) -> str | None:
        if storage is not None:
            bucket_of(storage)
        return storage

    @model_validator(mode="after")
    def _scheduler_is_safe(self) -> Self:
        if self.scheduler is None:
            return self
        scheme, host = address_parts(self.scheduler)
        if scheme == "tcp" and not is_loopback(host) and not self.allow_plain_tcp:
            raise ValueError(
                f"scheduler {self.scheduler!r} is on the network without TLS: whoever reaches it can run code as the service. "
                "Use tls:// (`ptyxas certs init` makes certificates), or set allow_plain_tcp where the network keeps others out"
            )
        missing = [
            name
            for name, file in zip(
                ("tls_ca", "scheduler_tls_certificate"), (self.tls_ca, self.scheduler_certificate[0]), strict=True
            )
            if file is None
        ]
        if scheme == "tls" and missing:
            raise ValueError(f"scheduler {self.scheduler!r} needs certificates: {' and '.join(missing)} not given")
        return self

    @property
    def scheduler_certificate(self) -> tuple[Path | None, Path | None]:
        """Certificate and key with which the service meets a ``tls://`` scheduler."""
        if self.scheduler_tls_certificate is not None:
            return self.scheduler_tls_certificate, self.scheduler_tls_key
        return self.tls_certificate, self.tls_key

    @property
    def catalogue_url(self) -> str:
        """SQLAlchemy address of the catalogue."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'catalogue.sqlite'}"

    @property
    def token_file(self) -> Path:
        """The token of a service without keys."""
        return self.data_dir.resolve() / "token"

    @property
    def compiled_dir(self) -> Path:
        """Code that JAX compiled for the embedded workers, one folder a kind of processor; it may be removed at any time."""
        return self.data_dir.resolve() / "compiled"

    @property
    def uploads_dir(self) -> Path:
        """Uploads on their way in, and what is built for an object store."""
        return self.data_dir.resolve() / "uploads"

    def location(self, name: str) -> Location:
        """Where the data of a kind are: in a folder of ``data_dir``, or below a prefix of ``storage``."""
        if self.storage is None:
            return self.data_dir.resolve() / name
        return ObjectPath(*bucket_of(self.storage), spool=self.uploads_dir) / name


@dataclass(frozen=True)
class DataPaths:
    """What the service and all workers see alike; ``stop_flags``, beside the results if not given, is for the service alone."""

    datasets: Location
    artifacts: Location
    runs: Location
    stop_flags: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of a service."""
        datasets, artifacts, runs = (settings.location(name) for name in ("datasets", "units", "runs"))
        return cls(datasets, artifacts, runs, settings.data_dir.resolve() / "runs")

    def run_dir(self, run_id: str) -> Location:
        """Folder of one run's results and figures."""
        return self.runs / run_id

    def remove_run(self, run_id: str) -> None:
        """Remove all that there is of a run."""
        for folder in {self.run_dir(run_id), self.stop_flag(run_id).parent}:
            with suppress(FileNotFoundError):
                remove_tree(folder)

    def results(self, run_id: str) -> Location:
        """Results store of a run, once it is published."""
        return self.run_dir(run_id) / "results.zarr"

    def figures(self, run_id: str) -> Location:
        """Folder of a run's figures, a `storage.figures.FigureStore`."""
        return self.run_dir(run_id) / "figures"

    def stop_flag(self, run_id: str) -> Location:
        """File whose existence tells the run loop to cancel the run, also after a restart."""
        return (self.stop_flags or self.runs) / run_id / "stop"

    def raise_stop_flag(self, run_id: str) -> None:
        """Ask the run loop to cancel the run."""
        self.stop_flag(run_id).parent.mkdir(parents=True, exist_ok=True)
        write_file(self.stop_flag(run_id), b"")

    def lower_stop_flag(self, run_id: str) -> None:
        """Let the run go on."""
        self.stop_flag(run_id).unlink(missing_ok=True)


def address_parts(address: str) -> tuple[str, str]:
    """Scheme and host of a scheduler's address.

    Raises
    ------
    ValueError
        It is not of the form ``tls://host:port`` or ``tcp://host:port``.
    """
    rule = f"a scheduler's address is tls://host:port or tcp://host:port, got {address!r}"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{rule}: {error}") from error
    if parts.scheme not in ("tcp", "tls") or not host or not port or parts.path not in ("", "/") or parts.query or parts.username:
        raise ValueError(rule)
    return parts.scheme, host


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK_HOSTS
