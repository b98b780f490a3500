"""What a download says of itself to a supernode: when it begins, and when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .messages import Register, ReportMetrics
from .outcomes import FailCode
from .piece import DigestForm

if TYPE_CHECKING:
    from .config import DownloadConfig
    from .effects import Finish
    from .ids import NodeAddress, TaskId


def registration_of(config: DownloadConfig, node: NodeAddress) -> Register:
    """Return the registration of a download with the supernode at ``node`` (protocol 1.1)."""
    return Register(
        raw_url=config.url,
        task_url=config.task_url,
        peer=config.peer,
        ip=config.ip,
        host_name=config.host_name,
        port=config.port,
        path=config.path,
        version=config.version,
        node_host=node.host,
        md5=config.md5,
        identifier="" if config.md5 else config.identifier,
        call_system=config.call_system,
        headers=config.headers,
        dfdaemon=config.dfdaemon,
        insecure=config.insecure,
        root_cas=config.root_cas,
        digest_form=DigestForm.SHA256,
        native=config.native,
        relays=config.relays,
    )


def metrics_of(
    config: DownloadConfig, task: TaskId, end: Finish, duration_s: float
) -> ReportMetrics:
    """Return how a download went, as dfget 1.0 tells its supernode (protocol 1.6)."""
    return ReportMetrics(
        task=task,
        peer=config.peer,
        ip=config.ip,
        port=config.port,
        success=end.code is FailCode.SUCCESS,
        duration_s=duration_s,
        length=end.length,
        back_source_reason=str(end.reason),
        call_system=config.call_system,
    )
