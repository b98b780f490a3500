"""A BitTorrent peer by libtorrent, run by the system's Python, which has the bindings.

``bt_peer.py make FILE TORRENT PIECE_BYTES`` writes a torrent.  ``bt_peer.py run TORRENT DIR IP PORT
[--seed]`` prints ``ready``, reads a line of ``ip:port`` words on stdin, connects to those, prints
``done`` and the bytes uploaded so far when it has the file, and goes on until its input ends.
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
    "choking_algorithm": 0,
    "unchoke_slots_limit": 64,
    "max_out_request_queue": 1500,
    "connection_speed": 500,
}


def main() -> None:
    """Do as the first argument says."""
    if sys.argv[1] == "make":
        _make(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        _run(*sys.argv[2:6], is_seed="--seed" in sys.argv)


def _make(file: str, torrent: str, piece_bytes: int) -> None:
    storage = lt.file_storage()
    lt.add_files(storage, file)
    made = lt.create_torrent(storage, piece_bytes)
    lt.set_piece_hashes(made, os.path.dirname(file))
    with open(torrent, "wb") as out:
        out.write(lt.bencode(made.generate()))


def _run(torrent: str, folder: str, ip: str, port: str, *, is_seed: bool) -> None:
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
    print(handle.status().total_payload_upload, flush=True)
    os._exit(0)  # an orderly end announces itself to a tracker that is not there


if __name__ == "__main__":
    main()
