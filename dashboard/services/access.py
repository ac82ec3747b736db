"""Who reaches the server, by which names, and which models they may choose: as it was started.

A server that other machines reach is shared: its visitors choose from the models that the operator allows. So is one
that is reached by a name of its own (`--allow-host`), as behind a proxy on the same machine.
"""

import ipaddress
import re
import socket
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import streamlit as st

from lake_core.backbones.registry import DEFAULT_BACKBONE, SHIPPED
from lake_core.errors import BackboneError

LOCALHOST = "localhost"
_NETLOC = re.compile(r"[\w.:\[\]%-]+", re.ASCII)


def is_demo() -> bool:
    """Whether the server shows samples and shared projects alone: visitors upload nothing, and nothing is stored."""
    return "--read-only" in sys.argv[1:]


def allowed_models() -> tuple[str, ...] | None:
    """The models that visitors of this server may choose; None where they may choose and type any."""
    arguments = sys.argv[1:]
    named = values_of("--models", arguments)
    if named:
        return tuple(dict.fromkeys((DEFAULT_BACKBONE, *named)))  # sessions begin with the first
    is_for_all = is_demo() or is_shared(st.get_option("server.address"), values_of("--allow-host", arguments))
    return SHIPPED if is_for_all else None


def check_allowed(spec: str) -> None:
    """Raises a BackboneError where visitors of this server may not choose a model."""
    allowed = allowed_models()
    if allowed is not None and spec not in allowed:
        raise BackboneError(f"{spec} is not among the models of this server: choose one of {', '.join(allowed)}.")


def values_of(option: str, arguments: Sequence[str]) -> list[str]:
    """What a program's arguments give an option that may be repeated."""
    return [value for name, value in pairwise(arguments) if name == option]


def is_shared(address: str | None, names: Iterable[str]) -> bool:
    """Whether others than the users of this machine reach a server.

    Args:
        address: That it listens at; None is all of this machine's.
        names: By which it is reached besides its addresses.
    """
    return address is None or not is_loopback(address) or not all(is_loopback(name) for name in names)


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine to itself."""
    return host == LOCALHOST or host.endswith(f".{LOCALHOST}") or (_is_address(host) and _parsed(host).is_loopback)


def host_of(netloc: str) -> str:
    """The name or address in "HOST:PORT", in small letters; "" where it is none."""
    try:
        parts = urlsplit(f"//{netloc}")
        _ = parts.port  # raises where it is no number of a port
    except ValueError:
        return ""
    return (parts.hostname or "").rstrip(".") if _NETLOC.fullmatch(netloc) else ""


def own_names(names: Iterable[str]) -> frozenset[str]:
    """The names by which a server may be called: those given and the machine's own.

    Addresses need not be among them: a page of another site cannot have one as its name, so that calling the server
    by one is no DNS rebinding.
    """
    machine = socket.gethostname()
    return frozenset(name.lower().rstrip(".") for name in (*names, machine, f"{machine}.local"))


def knows_host(host: str, names: frozenset[str]) -> bool:
    """Whether a server may be called by a host, as from `host_of`.

    Args:
        names: As from `own_names`; `*.example.com` stands for all names below.
    """
    if _is_address(host) or is_loopback(host) or host in names:
        return True
    return any(name.startswith("*.") and host.endswith(name[1:]) for name in names)


def is_own_origin(origin: str, host: str) -> bool:
    """Whether a page of that origin may talk to the server that it calls by a host."""
    of_page = host_of(urlsplit(origin).netloc)
    return of_page == host or (is_loopback(of_page) and is_loopback(host))


def asks_for_a_frame(query: str) -> bool:
    """Whether an address has embed=1 or embed=true in its query: the microscope alone, for another page's frame."""
    return any(value.lower() in ("1", "true") for value in parse_qs(query).get("embed", []))


def _is_address(host: str) -> bool:
    try:
        _parsed(host)
    except ValueError:
        return False
    return True


def _parsed(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(host.partition("%")[0])
