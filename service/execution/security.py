"""Who may talk to the Dask scheduler, and how: TLS of an embedded cluster, and of a scheduler at an address.

A Dask scheduler runs whatever it is sent, so both ends of every connection present a certificate of one authority. The service
and its embedded scheduler, which are one process, pass on objects instead.
"""

import warnings
from typing import Final

from distributed import LocalCluster, Security

from service.settings import Settings

HEARTBEAT_S: Final = 2.0
"""How often an embedded worker tells its scheduler that it lives, four times less often than Dask asks a few workers for [s].

Nothing waits for it: that a worker has died is seen by its connection."""


def cluster_security(settings: Settings) -> Security:
    """Security of all connections between service, scheduler and workers.

    An embedded cluster gets a key of its own, which exists in the memory of its processes only. A ``tls://`` scheduler is
    met with the files that the settings name. A ``tcp://`` scheduler gets none: the settings have refused those that are
    reachable by others.
    """
    if settings.scheduler is None:
        return Security.temporary()
    if not settings.scheduler.startswith("tls://"):
        return Security()
    certificate, key = settings.scheduler_certificate
    return Security(
        tls_ca_file=str(settings.tls_ca),
        tls_client_cert=str(certificate),
        tls_client_key=str(key),
        require_encryption=True,
    )


def address_within(cluster: LocalCluster) -> str:
    """An address of an embedded scheduler that only its own process reaches: nothing is packed and encrypted on the way."""
    scheduler = cluster.scheduler
    with warnings.catch_warnings():  # Dask puts the machine's address into the name, and warns where it has none
        warnings.simplefilter("ignore", RuntimeWarning)
        cluster.sync(scheduler.listen, "inproc://")
    return str(scheduler.listeners[-1].contact_address)


def slow_heartbeats(cluster: LocalCluster) -> None:
    """Have the workers of an embedded cluster say that they live every `HEARTBEAT_S`."""
    handlers = cluster.scheduler.handlers
    answer = handlers["heartbeat_worker"]
    handlers["heartbeat_worker"] = lambda **told: {**answer(**told), "heartbeat-interval": HEARTBEAT_S}
