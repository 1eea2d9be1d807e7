"""Errors appear in Korean with advice, and foreign text never becomes markup."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, expect

from imgedit.local.ports import Ports, is_free
from tests.demo_stack import SAMPLES, DemoStack
from tests.web.studio_page import EDIT_SECONDS, Studio, payload, png

pytestmark = pytest.mark.timeout(400)

MALICE = '<img src=x onerror="document.title=1">![a](http://evil.example/a.png)[b](http://evil.example)'


@contextmanager
def page_of_its_own(folder: Path, **settings: str) -> Iterator[str]:
    """Another process of the page, with other settings; its address."""
    port = Ports.free().base
    variables = {f"IMGEDIT_STUDIO_{name.upper()}": value for name, value in {"port": str(port), **settings}.items()}
    with (folder / "studio.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "studio"], env={**os.environ, **variables}, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 60
        while is_free(port):
            assert process.poll() is None, (folder / "studio.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def test_a_file_that_is_no_picture_is_refused_with_what_to_do(studio: Studio) -> None:
    studio.upload(payload("notes.png", b"not a picture at all"))
    expect(studio.page.get_by_text("이미지를 읽을 수 없습니다. PNG, JPG, WebP 파일인지 확인하세요.")).to_be_visible()
    expect(studio.page.get_by_text("PNG, JPG, WebP로 다시 저장하거나")).to_be_visible()


def test_a_picture_that_is_too_large_is_reduced_and_one_beyond_that_is_refused(studio: Studio) -> None:
    studio.upload(payload("large.png", png(Image.new("L", (6000, 5000)))))
    expect(studio.page.get_by_text("원본(6000 × 5000)이 너무 커서 편집할 수 있는 크기로 줄였습니다.")).to_be_visible()
    studio.upload(payload("huge.png", png(Image.new("L", (16_000, 8_000)))))
    expect(studio.page.get_by_text("이미지가 너무 큽니다(120 메가픽셀까지). 크기를 줄여 주세요.")).to_be_visible()


def test_nothing_is_sent_without_a_picture_and_a_prompt(studio: Studio) -> None:
    studio.start()
    expect(studio.page.get_by_text("편집할 이미지를 올리거나 샘플을 고르세요.")).to_be_in_viewport()
    studio.settle()
    studio.sample()
    studio.start()
    expect(studio.page.get_by_text("바꿀 내용을 프롬프트에 쓰세요.")).to_be_in_viewport()


def test_what_the_server_refuses_is_said_in_its_korean_words(studio: Studio) -> None:
    studio.sample()
    studio.prompt("a gym")
    studio.unfold("마스크")
    studio.choose("파일")
    field = studio.page.locator('[class*="-mask-file"] input[type=file]')
    field.set_input_files([payload("mask.png", png(Image.new("L", (40, 30), 255)))])
    studio.page.wait_for_timeout(500)
    studio.start()
    expect(studio.page.get_by_text("마스크 크기(40x30)가 이미지 크기")).to_be_visible(timeout=EDIT_SECONDS * 1000)
    expect(studio.page.get_by_text("요청 ID", exact=False)).to_be_visible()
    studio.choose("English")
    expect(studio.page.get_by_text("send a mask of the picture's size").first).to_be_visible()


def test_names_and_prompts_are_shown_as_text(studio: Studio) -> None:
    studio.upload(payload(f"{MALICE[:60]}.png", (SAMPLES / "in-the-gym.png").read_bytes()))
    studio.prompt(MALICE)
    studio.edit()
    studio.used("시드")
    expect(studio.page.get_by_text(MALICE).last).to_be_visible()
    studio.press("이 결과에서 이어서 편집")
    expect(studio.page.get_by_text("-inpainting-").first).to_be_visible()
    assert "evil.example" not in {*studio.hosts}
    assert studio.page.locator("[src*='evil'], [href*='evil']").count() == 0
    assert studio.page.title() == "이미지 편집 실험"


def test_without_a_server_the_page_says_so_and_offers_to_try_again(context: BrowserContext, tmp_path: Path) -> None:
    with page_of_its_own(tmp_path, server="127.0.0.1:9") as url:
        page = context.new_page()
        page.goto(url)
        expect(page.get_by_text("서버에 연결할 수 없습니다")).to_be_visible()
        expect(page.get_by_text("잠시 후 다시 시도하세요.").first).to_be_visible()
        expect(page.get_by_role("button", name="다시 시도")).to_be_visible()


def test_a_login_is_asked_for_where_the_operator_wants_one(
    context: BrowserContext, demo_stack: DemoStack, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets.toml"
    secrets.write_text(
        f"""[auth]
redirect_uri = "http://127.0.0.1:8501/oauth2callback"
cookie_secret = "{"s" * 40}"
client_id = "studio"
client_secret = "secret"
server_metadata_url = "http://127.0.0.1:9/.well-known/openid-configuration"
"""
    )
    with page_of_its_own(tmp_path, server=demo_stack.target, login="oidc", secrets=str(secrets)) as url:
        page = context.new_page()
        page.goto(url)
        expect(page.get_by_role("button", name="로그인")).to_be_visible()
        expect(page.locator(".st-key-edit")).to_have_count(0)


def test_a_wrong_setting_stops_the_start_and_names_the_variable() -> None:
    faulty = {"PORT": "many", "LANGUAGE": "fr", "SERVER_ADDRESS": "x", "LOGIN": "oidc", "TOKEN_FILE": "/no/such/file"}
    for name, value in faulty.items():
        done = subprocess.run(
            [sys.executable, "-m", "studio"],
            env={**os.environ, f"IMGEDIT_STUDIO_{name}": value},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1
        assert f"IMGEDIT_STUDIO_{name}" in done.stderr


def test_a_token_does_not_leave_this_machine_in_clear_unless_it_is_allowed_to() -> None:
    variables = {**os.environ, "IMGEDIT_STUDIO_SERVER": "imgedit.example:50051", "IMGEDIT_STUDIO_TOKEN": "imgedit_x"}
    command = [sys.executable, "-m", "studio"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "without TLS" in done.stderr


@pytest.mark.parametrize(
    ("host", "origin", "code"),
    [
        ("evil.example", "evil.example", b"403"),
        ("127.0.0.1", "127.0.0.1", b"101"),
        ("127.0.0.1", "127.0.0.1:1", b"403"),
        ("127.0.0.1", "localhost", b"403"),
    ],
)
def test_another_page_cannot_connect(demo_stack: DemoStack, host: str, origin: str, code: bytes) -> None:
    """DNS rebinding, a name of the attacker's that leads to this machine.

    And a page on another port of this host.
    """
    headers = {
        "Host": host,
        "Origin": f"http://{origin}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    lines = ["GET /_stcore/stream HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items()), "", ""]
    with socket.create_connection(("127.0.0.1", int(demo_stack.url.rpartition(":")[2])), timeout=10) as connection:
        connection.sendall("\r\n".join(lines).encode())
        assert connection.recv(100).split()[1] == code


def test_the_health_endpoint_answers_and_the_numbers_of_streamlit_are_closed(demo_stack: DemoStack) -> None:
    with urllib.request.urlopen(f"{demo_stack.url}/_stcore/health", timeout=5) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{demo_stack.url}/_stcore/metrics", timeout=5)
