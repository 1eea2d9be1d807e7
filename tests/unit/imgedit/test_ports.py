"""Where a stack listens on one machine."""

from __future__ import annotations

import pytest

from imgedit.local.ports import Ports


def test_the_default_ports_do_not_meet() -> None:
    Ports(gateway=8080, studio=8501, replicas={"fill": 4, "qwen_edit": 4, "orchestrator": 2}).check()
    Ports.free(gateway=True, studio=True, replicas={"fill": 4}).check()


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        (Ports(40000, 40200, gateway=40210), "port 40210 would be both the gateway and metrics of the gateway"),
        (Ports(40000, 40003), "port 40003 would be both .*metrics of orchestrator.* and gRPC of qwen_edit"),
        (Ports(40000, 40100, gateway=8080, studio=8080), "port 8080 would be both the gateway and the page"),
        (Ports(65_534, 9101), "gRPC of fill would be port 65536; ports are 1 to 65535"),
        (Ports(0, 9101), "gRPC of orchestrator would be port 0"),
    ],
)
def test_two_things_at_one_port_are_named(ports: Ports, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ports.check()
