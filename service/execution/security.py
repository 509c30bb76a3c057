"""Who may talk to the Dask scheduler: TLS of an embedded cluster, and of a scheduler at an address.

A Dask scheduler runs whatever it is sent, so both ends of every connection present a certificate of one authority.
"""

from distributed import Security

from service.settings import Settings


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
