"""What can be said of a download before anybody is asked for anything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .expressions import expression
from .outcomes import BackSourceReason

if TYPE_CHECKING:
    from .config import DownloadConfig

FORBIDDEN: Final = 1000
"""Added to a reason where going back to the source is not allowed (protocol 8.4)."""
_MD5: Final = expression(r"[0-9a-f]{32}", re.IGNORECASE)


def doom_of(config: DownloadConfig) -> tuple[int, str] | None:
    """Return reason and text if the download cannot succeed, whatever others do."""
    if config.md5 and not _MD5.fullmatch(config.md5):
        text = f"md5 {config.md5!r}: expected 32 hex digits, as md5sum prints them"
        return int(BackSourceReason.MD5_NOT_MATCH), text
    if not config.nodes and not config.back_to_source:
        text = "all would come from the source, and going back to the source is forbidden"
        return FORBIDDEN + reason_without_nodes(config), text
    return None


def reason_without_nodes(config: DownloadConfig) -> BackSourceReason:
    """Return why all comes from the source where there is no supernode to ask."""
    if config.source_only:
        return BackSourceReason.USER_ASKED
    return BackSourceReason.REGISTER_FAILED
