"""The keys of dfdaemon.yml: those of 1.0.6, older ones that are still understood, and ours."""

from __future__ import annotations

from typing import Final

from ..config_keys import Key, Keys, Shape, log_keys, parse_switch
from ..units import parse_v1_size
from ..values import (
    parse_amount,
    parse_count,
    parse_duration,
    parse_filter,
    parse_ip,
    parse_names,
    parse_nodes,
    parse_port,
)
from .values import (
    parse_auth_check,
    parse_daemon_port,
    parse_daemon_rate,
    parse_ports,
    parse_words,
)

_CERTS: Final = "PEM files of authorities to trust for it, besides those of this machine"
_INSECURE: Final = "true: its TLS is not verified"


def _upstream(prefix: str, field: str) -> tuple[Key, ...]:
    return (
        Key(f"{prefix}insecure", f"{field}insecure", parse_switch, "false", _INSECURE,
            shape=Shape.SWITCH),
        Key(f"{prefix}certs", f"{field}certs", parse_names, "[]", _CERTS, shape=Shape.LIST),
    )  # fmt: skip


def _text(name: str, what: str = "") -> Key:
    return Key(name, name, str, '""', what)


def _switch(name: str, field: str, default: str, what: str, flag: str = "") -> Key:
    return Key(name, field, parse_switch, default, what, flag, Shape.SWITCH)


_MIRROR: Final = (
    Key("registry_mirror.remote", "mirror.remote", str, "https://index.docker.io", "the registry"
        " that requests to the mirror are for if they do not name another; its path is put before"
        " theirs", "registry"),
    *_upstream("registry_mirror.", "mirror."),
    _switch("registry_mirror.direct", "mirror.direct", "false", "true: nothing of it goes through"
            " the swarm"),
    _switch("registry_mirror.dynamic", "dynamic", "false", "true: the header X-Dragonfly-Registry"
            " of a request names its upstream"),
)  # fmt: skip

_MIRRORS: Final = Key(
    "mirrors", "mirrors", str, "[]", "more registries behind the mirror, each an entry with remote,"
    " insecure, certs and direct as above, and with what requests are for it: regx, found in their"
    " ?ns= or Host; path, as /v2/ghcr.io/, with which their path begins and which becomes /v2/",
    shape=Shape.ENTRIES,
    inner=(
        *[_text(name) for name in ("remote", "regx", "path")],
        *_upstream("", ""),
        _switch("direct", "direct", "false", ""),
    ),
)  # fmt: skip

_NS: Final = _switch("nsUpstreams", "ns_upstreams", "true", "a ?ns= that no entry of mirrors is for"
                     " names its registry itself, as containerd means it")  # fmt: skip

_PROXIES: Final = Key(
    "proxies", "proxies", str, "[]", "rules for requests, of which the first counts whose regx is"
    " found in the URL; an entry has regx and perhaps direct: true (not through the swarm),"
    " strict: true (only through the swarm), use_https: true, redirect: host[:port]; blobs of"
    " registries that no rule names go through the swarm",
    shape=Shape.ENTRIES,
    inner=(
        *[_text(name) for name in ("regx", "redirect")],
        *[_switch(name, name, "false", "") for name in ("use_https", "direct", "strict")],
    ),
)  # fmt: skip

_HIJACK: Final = (
    Key("hijack_https.cert", "hijack.cert", str, '""', "PEM file of a CA (dfdaemon gen-ca), which"
        " signs a certificate for each intercepted host, or of the one certificate to show; empty:"
        " nothing is intercepted"),
    Key("hijack_https.key", "hijack.key", str, '""', "private key of cert"),
    Key("hijack_https.hosts", "hijack.hosts", str, "[]", "whose TLS is intercepted: entries with"
        " regx, found in host:port, and insecure and certs for asking that host",
        shape=Shape.ENTRIES, inner=(_text("regx"), *_upstream("", ""))),
)  # fmt: skip

_SAFETY: Final = (
    Key("authCheck", "auth_check", parse_auth_check, "origin", "who is given content that is"
        " already here: whom the origin lets (origin), whom it let recently (cached), everybody"
        " (off)", "auth_check", Shape.WORD),
    Key("whiteList", "whitelist", str, "[]", "upstreams that may be asked, none: all; entries with"
        " host or regx, and perhaps ports", shape=Shape.ENTRIES,
        inner=(_text("host"), _text("regx"),
               Key("ports", "ports", parse_ports, "[]", "", shape=Shape.LIST))),
    Key("basicAuth.username", "basic_auth.user", str, '""', "clients of the proxy must give this"
        " name and password; empty: nobody must"),
    Key("basicAuth.password", "basic_auth.password", str, '""', "see username"),
)  # fmt: skip

_LISTENING: Final = (
    Key("hostIp", "host", parse_ip, "127.0.0.1", "address to listen on; 0.0.0.0 lets other hosts"
        " use this one as a proxy", "host_ip"),
    Key("port", "port", parse_daemon_port, "65001", "port to listen on; 0: any", "port"),
    Key("certpem", "cert_pem", str, '""', "certificate to listen with; with keypem the daemon"
        " speaks TLS", "certpem"),
    Key("keypem", "key_pem", str, '""', "private key of certpem", "keypem"),
)  # fmt: skip

_SWARM: Final = (
    Key("supernodes", "nodes", parse_nodes, "[]", "supernodes, as host[:port][=weight]; none: the"
        " one on 127.0.0.1:8002 if there is one", "node", Shape.LIST),
    Key("ratelimit", "rate_limit", parse_daemon_rate, "0", "bytes per second for all downloads, as"
        " 20MB; 0: no limit", "ratelimit"),
    Key("localIP", "local_ip", parse_ip, '""', "address on which this host serves peers; empty: the"
        " one that reaches the supernode", "local_ip"),
    Key("peerPort", "peer_port", parse_port, "0", "port for peers; 0: a free one", "peer_port"),
    Key("dfpath", "dfpath", str, '""', "a dfget to run for each download; empty: this process"
        " downloads", "dfpath"),
    Key("dfget_flags", "dfget_flags", parse_words, "[]", "flags for dfpath; without it those that"
        " mean something to this process: -f a&b, -n NODES, -s RATE, --totallimit, --ip, --port",
        shape=Shape.TEXTS),
)  # fmt: skip

_PLACES: Final = (
    Key("workHome", "work_home", str, '""', "logs and content; empty: ~/.small-dragonfly",
        "work_home"),
    Key("localrepo", "local_repo", str, '""', "content, an absolute path; empty: dfdaemon/data in"
        " the work home", "localrepo"),
    _switch("verbose", "verbose", "false", "log more", "verbose"),
    *log_keys("", "logs/dfdaemon.log in the work home; the access log goes beside it"),
)  # fmt: skip

_BOUNDS: Final = (
    Key("bounds.connections", "bounds.connections", parse_count, "1000", "clients at once; each"
        " holds a few chunks of 256 KiB in memory at most"),
    Key("bounds.downloads", "bounds.downloads", parse_count, "64", "blobs fetched at once"),
    Key("bounds.cacheSize", "bounds.store_bytes", parse_v1_size, "0", "what content may take on"
        " disk, as 50GB; 0: a quarter of the disk, at most 100GB"),
    Key("bounds.cacheAge", "bounds.store_age_s", parse_duration, "1h", "content that nobody asked"
        " for goes after so long"),
    Key("bounds.leftover", "bounds.leftover_s", parse_duration, "1h", "what a crash left on disk is"
        " deleted after so long"),
    Key("bounds.clientStall", "bounds.client_stall_s", parse_duration, "1m", "a client must take a"
        " byte every so often"),
    Key("bounds.upstreamConnect", "bounds.upstream_connect_s", parse_duration, "10s", "an upstream"
        " must accept a connection within"),
    Key("bounds.upstreamStall", "bounds.upstream_stall_s", parse_duration, "1m", "an upstream must"
        " bring a byte every so often"),
    Key("bounds.tunnelIdle", "bounds.tunnel_idle_s", parse_duration, "1h", "a tunnel may be silent"
        " for so long"),
)  # fmt: skip

_OLD: Final = (
    Key("node", "older.node", parse_nodes, "", "", shape=Shape.LIST, is_old=True),
    Key("urlfilter", "older.urlfilter", parse_filter, "", "", "urlfilter", is_old=True),
    Key("callsystem", "older.callsystem", str, "", "", "callsystem", is_old=True),
    Key("notbs", "older.notbs", parse_switch, "", "", "notbs", Shape.SWITCH, is_old=True),
    Key("maxprocs", "older.maxprocs", parse_amount, "", "", "maxprocs", is_old=True),
    Key("streamMode", "older.stream_mode", parse_switch, "", "", "stream_mode", Shape.SWITCH,
        is_old=True),
    Key("registries", "older.registries", str, "", "", shape=Shape.ENTRIES, is_old=True,
        inner=(*[_text(name) for name in ("regx", "schema", "host")],
               Key("certs", "certs", parse_names, "", "", shape=Shape.LIST))),
)  # fmt: skip

DAEMON_KEYS: Final = Keys(
    "dfdaemon",
    "DFDAEMON_",
    (
        *_MIRROR,
        _MIRRORS,
        _NS,
        _PROXIES,
        *_HIJACK,
        *_SAFETY,
        *_LISTENING,
        *_SWARM,
        *_PLACES,
        *_BOUNDS,
        *_OLD,
    ),
    runs_together=True,
)  # fmt: skip
