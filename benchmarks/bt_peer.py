"""A BitTorrent peer by libtorrent, run by the system's Python, which has the bindings.

``bt_peer.py TORRENT DIR IP PORT [--seed]`` prints ``ready``, reads a line of ``ip:port`` words on
stdin and connects to those, prints ``done`` when it has all pieces, goes on until the next line,
and then, once all is written to its file, prints how many bytes it uploaded.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, Final

lt: Final[Any] = import_module("libtorrent")
_SETTINGS: Final = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_outgoing_utp": False,
    "enable_incoming_utp": False,
    "alert_mask": lt.alert.category_t.storage_notification,
    "choking_algorithm": 0,
    "unchoke_slots_limit": 64,
    "max_out_request_queue": 1500,
    "connection_speed": 500,
}


def main(torrent: str, folder: str, ip: str, port: str, *, is_seed: bool) -> None:
    """Take part until told to end."""
    session = lt.session({**_SETTINGS, "listen_interfaces": f"{ip}:{port}"})
    wanted = lt.add_torrent_params()
    wanted.ti = lt.torrent_info(torrent)
    wanted.save_path = folder
    wanted.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    if is_seed:
        wanted.flags |= lt.torrent_flags.seed_mode
    handle = session.add_torrent(wanted)
    while not session.is_listening():
        session.wait_for_alert(10)
        session.pop_alerts()
    print("ready", flush=True)
    for word in sys.stdin.readline().split():
        host, _, other = word.rpartition(":")
        handle.connect_peer((host, int(other)))
    while not handle.status().is_seeding:
        session.wait_for_alert(20)
        session.pop_alerts()
    print("done", flush=True)
    sys.stdin.readline()
    _flush(session, handle)
    print(handle.status().total_payload_upload, flush=True)
    os._exit(0)  # an orderly end announces itself to a tracker that is not there


def _flush(session: Any, handle: Any) -> None:
    """Wait until what was received is in the file: pieces count as had before that."""
    handle.flush_cache()
    while not any(isinstance(alert, lt.cache_flushed_alert) for alert in session.pop_alerts()):
        session.wait_for_alert(1000)


if __name__ == "__main__":
    main(*sys.argv[1:5], is_seed="--seed" in sys.argv)
