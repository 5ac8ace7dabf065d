"""Where a channel to the coordinators goes."""

import pytest

from luthier.transport import coordinator_target


@pytest.mark.parametrize(
    ("addresses", "target"),
    [
        ("127.0.0.1:7430", "127.0.0.1:7430"),
        ("coordinator:7430", "coordinator:7430"),
        ("127.0.0.1:1, 127.0.0.2:2", "ipv4:127.0.0.1:1,127.0.0.2:2"),
        ("[::1]:1,[::1]:2", "ipv6:[::1]:1,[::1]:2"),
    ],
)
def test_one_name_or_several_addresses(addresses, target):
    assert coordinator_target(addresses) == target


@pytest.mark.parametrize("addresses", ["a:1,b:2", "127.0.0.1:1,[::1]:2", "127.0.0.1:1,", "127.0.0.1,127.0.0.2"])
def test_other_lists_are_refused_with_what_to_do(addresses):
    with pytest.raises(ValueError, match="DNS name"):
        coordinator_target(addresses)
