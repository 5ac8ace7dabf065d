"""Ports: free, different, and the same ones again."""

import socket

from luthier.local.ports import LOOPBACK, choose_ports


def test_every_role_gets_its_own_port_and_keeps_it() -> None:
    first = choose_ports(["a", "b", "c"], {})
    assert len(set(first.values())) == 3
    assert choose_ports(["a", "b", "c"], first) == first


def test_a_port_that_was_taken_meanwhile_is_replaced() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert choose_ports(["a"], {"a": port})["a"] != port
