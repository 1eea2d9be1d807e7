"""Webhook URLs, addresses and signatures."""

from __future__ import annotations

import pytest

from imgedit.errors import InvalidArgument, SettingsError
from services.common.settings import load_settings
from services.orchestrator.settings import OrchestratorSettings
from services.orchestrator.webhooks.configured import configured_webhooks
from services.orchestrator.webhooks.public_addresses import is_public
from services.orchestrator.webhooks.signature import read_secrets, signed_headers
from services.orchestrator.webhooks.targets import Target, read_allowed_hosts, read_target

ALLOWED = read_allowed_hosts("hooks.example.com, *.apps.example.com, other.example.com:8443")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ANOTHER = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://hooks.example.com", Target("hooks.example.com", 443, "/")),
        ("HTTPS://Hooks.Example.COM:443/In/box?key=%41#"[:-1], Target("hooks.example.com", 443, "/In/box?key=%41")),
        ("https://hooks.example.com?a=b", Target("hooks.example.com", 443, "/?a=b")),
        ("https://a.b.apps.example.com/x@y", Target("a.b.apps.example.com", 443, "/x@y")),
        ("https://other.example.com:8443/", Target("other.example.com", 8443, "/")),
    ],
)
def test_allowed_urls(url: str, target: Target) -> None:
    assert read_target(url, ALLOWED) == target


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "https://"),
        ("http://hooks.example.com/", "https://"),
        ("ftp://hooks.example.com/", "https://"),
        ("//hooks.example.com/", "https://"),
        ("https:/hooks.example.com/", "https://"),
        (" https://hooks.example.com/", "https://"),
        ("https://hooks.example.com/#part", "fragment"),
        ("https://hooks.example.com@evil.example/", "user name"),
        ("https://user:password@hooks.example.com/", "user name"),
        ("https://evil.example/", "allows"),
        ("https://hooks.example.com.evil.example/", "allows"),
        ("https://evilhooks.example.com/", "allows"),
        ("https://apps.example.com/", "allows"),
        ("https://evilapps.example.com/", "allows"),
        ("https://hooks.example.com:8443/", "port 8443"),
        ("https://other.example.com/", "port 443"),
        ("https://localhost/", "allows"),
        ("https://127.0.0.1/", "not an address"),
        ("https://127.1/", "not an address"),
        ("https://2130706433/", "not an address"),
        ("https://0x7f000001/", "not an address"),
        ("https://0177.0.0.1/", "not an address"),
        ("https://[::1]/", "not an address"),
        ("https://[::ffff:127.0.0.1]/", "not an address"),
        ("https://hooks.example.com.:443/", "not an address"),
        ("https://hooks.example.com:/", "not an address"),
        ("https://hooks.example.com:0443000/", "not an address"),
        ("https://hooks.example.com\\@evil.example/", "user name"),
        ("https://hooks.example.com\\.evil.example/", "not an address"),
        ("https://hooks.example.com/a b", "percent-encoded"),
        ("https://hooks.example.com/\r\nHost: evil.example", "percent-encoded"),
        ("https://hooks.example.com/한글", "percent-encoded"),
        ("https://훅.example.com/", "percent-encoded"),
        ("https://hooks。example.com/", "percent-encoded"),
        ("https://" + "a." * 130 + "apps.example.com/", "253"),
        ("https://hooks.example.com/" + "a" * 2048, "2048"),
    ],
)
def test_bad_urls_are_refused_by_name(url: str, why: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_target(url, ALLOWED)
    assert [violation.field for violation in caught.value.violations] == ["webhook_url"]
    assert why in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "listed",
    [
        "*",
        "*.",
        "https://a.example",
        "a.example/",
        "10.0.0.1",
        "a.example:0",
        "a.example:70000",
        "a.example,",
        "a b",
        "*a.example",
        "a_b",
    ],
)
def test_bad_lists_of_hosts_stop_the_start(listed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGEDIT_ORCHESTRATOR_WEBHOOK_HOSTS", listed)
    with pytest.raises(SettingsError, match="IMGEDIT_ORCHESTRATOR_WEBHOOK_HOSTS"):
        load_settings(OrchestratorSettings)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.1", "169.254.169.254",
        "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
        "198.19.255.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::8.8.8.8", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
        "64:ff9b::a00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1",
        "2002:c0a8:101::1", "3fff::1", "5f00::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "fec0::1",
        "ff02::1", "", "localhost", "1.1.1", "8.8.8.8/32",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1",
        "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::808:808",
        "2002:808:808::1",
    ],
)  # fmt: skip
def test_public_addresses(address: str) -> None:
    assert is_public(address)


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the Standard Webhooks libraries."""
    headers = signed_headers(
        read_secrets([SECRET], "here"), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_every_secret_signs() -> None:
    both = signed_headers(read_secrets([SECRET, "", ANOTHER], "here"), "msg_1", 1, b"{}")["webhook-signature"]
    alone = [
        signed_headers(read_secrets([one], "here"), "msg_1", 1, b"{}")["webhook-signature"] for one in (SECRET, ANOTHER)
    ]
    assert both.split() == alone
    assert alone[0] != alone[1]


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        ["secret"],
        ["whsec_"],
        ["whsec_AAAA"],
        [SECRET, "whsec_%%%"],
        [SECRET.removeprefix("whsec_")],
        ["whsec_" + "A" * 88],
    ],
)
def test_bad_secrets_are_refused_without_being_shown(lines: list[str]) -> None:
    with pytest.raises(SettingsError, match="/secret") as caught:
        read_secrets(lines, "/secret")
    assert not any(len(line) > 8 and line in caught.value.message for line in lines)


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"webhook_hosts": "hooks.example.com"}, "IMGEDIT_ORCHESTRATOR_WEBHOOK_SECRET_FILE"),
        ({"webhook_secret": SECRET}, "IMGEDIT_ORCHESTRATOR_WEBHOOK_HOSTS"),
        ({"webhook_hosts": "a.example", "webhook_secret_file": "/nowhere"}, "IMGEDIT_ORCHESTRATOR_WEBHOOK_SECRET_FILE"),
        (
            {"webhook_hosts": "a.example", "webhook_secret": SECRET, "webhook_tls_ca": "/nowhere"},
            "WEBHOOK_TLS_CA=/nowhere",
        ),
    ],
)
def test_half_a_configuration_stops_the_start(settings: dict[str, str], missing: str) -> None:
    with pytest.raises(SettingsError, match=missing):
        configured_webhooks(OrchestratorSettings(**settings))
