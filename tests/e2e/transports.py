"""The addresses that the tests of more than one file go through, as pytest parameters."""

import os
import socket

import pytest

import harness

needs_ipv6 = pytest.mark.skipif(not harness.has_ipv6(), reason="no IPv6 on the loopback")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
needs_open_tree = pytest.mark.skipif(
    not harness.is_tree_open(), reason="only its owner may enter the build tree")



def own_address():
    """An IPv4 address of this host outside the loopback; skips the test if there is none."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            pytest.skip("no address but the loopback")
        host = probe.getsockname()[0]
    if host.startswith("127."):
        pytest.skip("no address but the loopback")
    return host


TCP_STREAMS = [
    pytest.param("tcp://127.0.0.1:0", id="tcp4"),
    pytest.param("tcp://[::1]:0", id="tcp6", marks=needs_ipv6),
]
STREAMS = [
    *TCP_STREAMS,
    pytest.param("unix://$DIR/stream", id="unix"),
    pytest.param("unix://@$ID", id="abstract"),
]
DATAGRAMS = [
    pytest.param("udp://127.0.0.1:0", id="udp4"),
    pytest.param("udp://[::1]:0", id="udp6", marks=needs_ipv6),
    pytest.param("unixgram://$DIR/datagram", id="unixgram"),
    pytest.param("unixgram://@$ID.datagram", id="abstractgram"),
]

every_stream = pytest.mark.parametrize("listen", STREAMS)
every_datagram = pytest.mark.parametrize("listen", DATAGRAMS)
every_transport = pytest.mark.parametrize("listen", STREAMS + DATAGRAMS)
