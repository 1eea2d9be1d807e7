"""Parts of the page that need no browser.

Pictures, settings, words, the ZIP of a batch.
"""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imgedit.errors import ImageRejected, QueueFull, SettingsError, by_reason
from imgedit.imaging import images
from imgedit.imaging.decode_pool import Decoders
from imgedit.v1 import edit_pb2
from services.orchestrator.request.margins import Extension
from studio import __main__ as start
from studio import batch as batches
from studio import cropping, input_images, region, repainted, settings
from studio.batch import Batch
from studio.catalogue import Form
from studio.request_guard import Door, is_own_page
from studio.runs import Result, Task
from studio.session import MOST_BATCHES, Session
from studio.settings import Settings
from studio.text import TEXTS, Words, plain
from studio.uploads import Pages, Uploads

ROOT = Path(__file__).parents[3]


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def decoded(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.copy()


def test_an_input_is_shown_small_and_kept_as_it_came() -> None:
    data = png(Image.new("RGB", (4000, 1000), "teal"))
    picture = input_images.open_image("wide.png", data)
    assert picture.data == data
    assert picture.size == (4000, 1000)
    assert decoded(picture.view).size == (1280, 320)
    assert decoded(picture.thumb).size == (224, 56)


def test_a_broken_input_is_refused() -> None:
    with pytest.raises(ImageRejected):
        input_images.open_image("broken.png", b"\x89PNG\r\n\x1a\nbroken")


def test_no_picture_of_a_browser_is_decoded_in_the_pages_own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("decoded in this process")

    monkeypatch.setattr(images, "decode", refuse)
    monkeypatch.setattr(images, "open_untrusted", refuse)
    data = png(Image.new("L", (80, 60), 255))
    picture = input_images.open_image("a.png", data)
    assert input_images.mask_at(data, (800, 600), max_side=800) is not None
    assert input_images.mask_over(picture.view, data)


def test_an_upload_that_takes_too_long_is_refused_in_korean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_images, "_DECODERS", Decoders(1, 0.1))
    noise = np.random.default_rng(1).integers(0, 256, (3000, 3000, 3), dtype=np.uint8)
    with pytest.raises(ImageRejected, match="longer than") as caught:
        input_images.open_image("slow.png", png(Image.fromarray(noise)))
    assert "너무 오래 걸립니다" in caught.value.korean
    input_images._DECODERS.close()


def test_an_upload_that_waits_too_long_for_its_turn_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_images, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(QueueFull, match="try again later"):
        input_images.open_image("a.png", png(Image.new("RGB", (800, 600))))


def test_what_is_transparent_lies_on_checks() -> None:
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    for shown in (input_images.to_view(png(image)), input_images.open_image("clear.png", png(image)).view):
        assert np.ptp(np.asarray(decoded(shown)).astype(int), axis=2).max() < 12  # grey, where red is clear


@pytest.mark.parametrize(("view", "size"), [((800, 12), (6000, 90)), ((12, 800), (90, 6000)), ((800, 1), (16384, 16))])
def test_one_stroke_on_a_long_picture_is_a_mask(view: tuple[int, int], size: tuple[int, int]) -> None:
    small = Image.new("RGB", view)
    small.paste("white", (0, 0, max(1, view[0] // 2), max(1, view[1] // 2)))
    drawn = input_images.mask_at(png(small), size, max_side=800)
    assert drawn is not None
    assert decoded(drawn).size == size


@pytest.mark.parametrize(
    "drawn",
    [b"", b"no picture", png(Image.new("RGB", (801, 10), "white")), png(Image.new("RGB", (80, 60), "white"))[:90]],
)
def test_what_no_brush_drew_is_refused(drawn: bytes) -> None:
    with pytest.raises(ImageRejected):
        input_images.mask_at(drawn, (6000, 90), max_side=800)


def test_the_samples_of_a_folder_are_pictures_by_content(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.jfif", "JPEG")
    (tmp_path / "notes.png").write_bytes(b"no picture")
    (tmp_path / "folder.png").mkdir()
    assert [picture.name for picture in input_images.samples(tmp_path)] == ["a.jfif"]


@pytest.mark.parametrize(
    ("origin", "host", "is_own"),
    [
        (None, "127.0.0.1:8501", True),
        ("http://127.0.0.1:8501", "127.0.0.1:8501", True),
        ("https://Edit.example.com", "edit.example.com", True),
        ("https://edit.example.com", "edit.example.com:443", True),
        ("http://[::1]:8501", "[::1]:8501", True),
        ("http://127.0.0.1:9000", "127.0.0.1:8501", False),
        ("http://127.0.0.1", "127.0.0.1:8501", False),
        ("http://localhost:8501", "127.0.0.1:8501", False),
        ("http://evil.example", "127.0.0.1:8501", False),
        ("http://127.0.0.1:8501, http://evil.example", "127.0.0.1:8501", False),
        ("null", "127.0.0.1:8501", False),
        ("", "127.0.0.1:8501", False),
        ("http://127.0.0.1:8501", None, False),
    ],
)
def test_a_page_is_known_by_host_and_port(origin: str | None, host: str | None, is_own: bool) -> None:
    assert is_own_page(origin, host) is is_own


NO_UPLOADS = Uploads(dict, 0, 0)


async def test_the_door_refuses_sockets_of_other_pages_and_closed_paths() -> None:
    passed: list[str] = []

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["path"])

    async def answers(scope: dict[str, Any]) -> list[Any]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await Door(inside, NO_UPLOADS, Pages(1))({"headers": [], **scope}, receive, send)
        return [message.get("status", message.get("code")) for message in sent]

    headers = [(b"host", b"127.0.0.1:8501"), (b"origin", b"http://127.0.0.1:9000")]
    assert await answers({"type": "websocket", "path": "/_stcore/stream", "headers": headers}) == [1008]
    for path in ("/_stcore/metrics", "/_stcore/metrics/", "/base/_stcore/metrics"):
        assert await answers({"type": "http", "method": "GET", "path": path}) == [404, None]
    assert passed == []
    await answers({"type": "websocket", "path": "/_stcore/stream", "headers": headers[:1]})
    await answers({"type": "http", "method": "GET", "path": "/_stcore/health"})
    assert passed == ["/_stcore/stream", "/_stcore/health"]


@pytest.mark.parametrize(
    ("size", "aspect", "expected"),
    [
        ((100, 100), "1:1", (0, 0, 0, 0)),
        ((100, 100), "2:1", (50, 50, 0, 0)),
        ((300, 100), "3:4", (0, 0, 150, 150)),
        ((100, 100), "16:9", (39, 39, 0, 0)),  # 177.8 px
        ((100, 100), "4:3", (16, 17, 0, 0)),  # 133.3 px
    ],
)
def test_an_aspect_is_split_evenly_and_rounded_as_by_the_server(
    size: tuple[int, int], aspect: str, expected: input_images.Margins
) -> None:
    assert input_images.aspect_margins(size, aspect) == expected
    across, down = map(int, aspect.split(":"))
    if any(expected):
        added = Extension(aspect=(across, down)).margins_of(size, 0.25)
        assert expected == (added.left, added.right, added.top, added.bottom)


@pytest.mark.parametrize(
    ("size", "margins", "fault"),
    [
        ((100, 100), (39, 39, 0, 0), None),
        ((100, 100), (0, 0, 0, 0), "outpaint.fit.already"),
        ((1000, 10000), (4500, 4500, 0, 0), "outpaint.fit.too_far"),
        ((5000, 4000), (600, 600, 0, 0), None),
        ((5000, 4000), (700, 700, 0, 0), "outpaint.fit.too_large"),
        ((9000, 100), (4096, 4096, 0, 0), "outpaint.fit.too_large"),
    ],
)
def test_margins_that_the_server_would_refuse_are_not_offered(
    size: tuple[int, int], margins: input_images.Margins, fault: str | None
) -> None:
    assert region.fault_of(size, margins) == fault


def test_the_original_lies_in_the_extended_frame_where_it_was() -> None:
    view = input_images.webp(Image.new("RGB", (100, 80), "red"))
    frame = np.asarray(decoded(input_images.in_frame(view, (100, 80), (50, 0, 20, 0))).convert("RGB")).astype(int)
    assert frame.shape == (100, 150, 3)
    is_red = (frame[:, :, 0] - frame[:, :, 1]) > 128
    assert is_red[25:95, 55:145].all()
    assert not is_red[:15].any()
    assert not is_red[:, :45].any()


def test_a_brushed_mask_becomes_one_of_the_pictures_size_with_black_and_white_untouched() -> None:
    small = Image.new("RGB", (80, 60))
    small.paste("white", (20, 15, 60, 45))
    drawn = input_images.mask_at(png(small), (800, 600), max_side=800)
    assert drawn is not None
    mask = np.asarray(decoded(drawn))
    assert mask.shape == (600, 800)
    assert (mask[170:430, 220:580] == 255).all()
    assert (mask[:140] == 0).all()
    assert (mask[:, :190] == 0).all()
    assert ((mask > 0) & (mask < 255)).mean() < 0.05


def test_a_brush_that_painted_nothing_is_no_mask() -> None:
    assert input_images.mask_at(png(Image.new("RGB", (80, 60))), (800, 600), max_side=800) is None


def test_a_mask_of_the_server_is_shown_in_red_and_is_a_layer_for_the_brush() -> None:
    mask = Image.new("L", (40, 20))
    mask.paste(255, (0, 0, 20, 20))
    layer = Image.open(io.BytesIO(input_images.layer(png(mask), 20)))
    assert layer.size == (20, 10)
    assert (np.asarray(layer.getchannel("A"))[5, [2, 17]] == [255, 0]).all()
    view = input_images.webp(Image.new("RGB", (80, 40), "white"))
    red, white = np.asarray(decoded(input_images.reddened(view, png(mask)))).astype(int)[20, [10, 70]]
    assert red[0] - red[1] > 80
    assert white.min() > 240
    whole = np.asarray(decoded(input_images.reddened(view, None))).astype(int)
    assert (whole[..., 0] - whole[..., 1] > 80).all()


def test_the_question_for_a_mask_takes_as_few_steps_as_the_ranges_allow() -> None:
    steps = edit_pb2.ParameterSpec(name="steps", range={"min": 10, "max": 50})
    strength = edit_pb2.ParameterSpec(name="strength", range={"min": 0, "max": 1})
    prompt = edit_pb2.ParameterSpec(name="prompt")
    form = Form(edit_pb2.Experiment(id="a"), edit_pb2.Feature(id="b", parameters=[steps, strength, prompt]))
    assert repainted._one_step(form) == {"prompt": repainted.PROMPT, "steps": 10, "strength": 0.01}
    strength.range.min = 0.5
    form = Form(edit_pb2.Experiment(id="a"), edit_pb2.Feature(id="b", parameters=[strength]))
    assert repainted._one_step(form) == {"strength": 0.5}


QUARTERS = Image.new("RGB", (40, 80), "red")
QUARTERS.paste("blue", (0, 40, 40, 80))
"""Red above, blue below."""


@pytest.mark.parametrize(
    ("turns", "box", "size", "colours"),
    [
        (0, (0.0, 0.0, 1.0, 1.0), (40, 80), ("red", "blue")),
        (0, (0.0, 0.5, 1.0, 1.0), (40, 40), ("blue", "blue")),
        (1, (0.0, 0.0, 1.0, 1.0), (80, 40), ("blue", "red")),
        (3, (0.5, 0.0, 1.0, 0.5), (40, 20), ("blue", "blue")),
        (2, (0.0, 0.0, 0.5, 1.0), (20, 80), ("blue", "red")),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_part_of_the_turned_image_is_a_new_input_with_its_original(
    turns: int, box: input_images.Box, size: tuple[int, int], colours: tuple[str, str], kind: str
) -> None:
    buffer = io.BytesIO()
    QUARTERS.save(buffer, kind, quality=95)
    whole = input_images.open_image("a", buffer.getvalue())
    cut = input_images.cropped(whole, turns, box)
    assert (cut.size, cut.kind, cut.original) == (size, kind, whole)
    pixels = np.asarray(decoded(cut.data).convert("RGB"))
    for place, name in zip(((2, 2), (-3, -3)), colours, strict=True):
        assert pixels[place].argmax() == {"red": 0, "blue": 2}[name]
    assert input_images.cropped(cut, 0, (0.0, 0.0, 1.0, 1.0)).original == whole


def test_a_cut_keeps_what_is_transparent_and_a_turned_photo_is_upright_first() -> None:
    clear = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    cut = input_images.cropped(input_images.open_image("a.png", png(clear)), 1, (0.0, 0.0, 0.5, 1.0))
    assert decoded(cut.data).getchannel("A").getextrema() == (0, 0)
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    QUARTERS.save(buffer, "JPEG", exif=exif)
    turned = input_images.open_image("a.jpg", buffer.getvalue())
    cut = input_images.cropped(turned, 0, (0.0, 0.0, 0.5, 1.0))
    assert (turned.size, cut.size) == ((80, 40), (40, 40))


def test_a_part_that_is_too_small_is_refused_with_its_size() -> None:
    whole = input_images.open_image("a.png", png(QUARTERS))
    with pytest.raises(ImageRejected, match="the part is 2x80 px"):
        input_images.cropped(whole, 0, (0.0, 0.0, 0.05, 1.0))


@pytest.mark.parametrize(
    "told",
    [
        *(None, 5, [], {}, {"turns": 0}, {"turns": 0, "box": [0, 0, 1]}, {"turns": 4, "box": [0, 0, 1, 1]}),
        *({"turns": 0, "box": box} for box in ([0.5, 0, 0.5, 1], [0, 0, 1.01, 1], [-0.1, 0, 1, 1], [0, "0", 1, 1])),
        *({"turns": turns, "box": [0, 0, 1, 1]} for turns in (-1, 0.5, "1", None, float("nan"))),
        {"turns": 0, "box": [0, 0, float("nan"), 1]},
    ],
)
def test_what_is_no_part_of_an_image_is_refused(told: Any) -> None:
    with pytest.raises(ImageRejected, match="not a part"):
        cropping.parsed(told)
    assert cropping.parsed({"turns": 3, "box": [0, 0.25, 1, 0.5]}) == (3, (0.0, 0.25, 1.0, 0.5))


def test_samples_are_the_pictures_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(png(Image.new("RGB", (40, 40))))
    (tmp_path / "a.jpg").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_text("no picture")
    assert [picture.name for picture in input_images.samples(tmp_path)] == ["b.png"]
    assert input_images.samples(tmp_path / "missing") == []


def test_every_text_is_there_in_both_languages_with_the_same_values() -> None:
    for key, (korean, english) in TEXTS.items():
        assert korean, key
        assert english, key
        assert set(re.findall(r"{(\w+)}", korean)) == set(re.findall(r"{(\w+)}", english)), key
        assert not re.search("[가-힣]", english), key


def test_every_text_that_the_code_asks_for_exists_and_every_text_is_asked_for() -> None:
    files = [path for path in (ROOT / "studio").rglob("*.py") if path.name != "text.py"]
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    asked = set(re.findall(r"""words\(\s*["']([\w.]+)["']""", source))
    assert asked <= set(TEXTS)
    quoted = set(re.findall(r"""["']([\w.]+)["']""", source))
    groups = (
        "advice",
        "brush",
        "choice",
        "crop",
        "description",
        "mask",
        "name",
        "negative",
        "not_kept",
        "outpaint",
        "parameter",
    )
    groups += ("seed", "service", "stage", "state", "tips", "uploader")
    assert {key for key in TEXTS if key not in quoted and key.partition(".")[0] not in groups} <= {"seconds", "minutes"}


def test_advice_is_given_for_reasons_that_exist() -> None:
    assert {key.removeprefix("advice.") for key in TEXTS if key.startswith("advice.")} <= set(by_reason())


def test_a_text_of_someone_elses_holds_no_markdown() -> None:
    text = plain("![a](http://x) <b> :red[x] $y$ `z`\n# head")
    assert not re.search(r"(?<!\\)[!\[\]()<>:$`#]", text)
    assert "\n" not in text


@pytest.mark.parametrize(
    "address", ["http://evil.example", "HTTPS://evil.example", "www.evil.example", "a@evil.example"]
)
def test_an_address_of_someone_elses_becomes_no_link(address: str) -> None:
    bare = plain(address).replace("\\", "")
    assert not re.search(r"https?://|www\.|\w@\w", bare, re.IGNORECASE)
    assert bare.replace("\N{WORD JOINER}", "") == address


def test_durations_are_short() -> None:
    assert [Words("ko").seconds(value) for value in (0.24, 12.4, 75)] == ["0.2초", "12초", "1분 15초"]


def test_the_readme_lists_the_settings_and_no_other() -> None:
    readme = (ROOT / "studio" / "README.md").read_text(encoding="utf-8")
    expected = [
        f"| `{settings.PREFIX}{field.name.upper()}` | {_shown(field.default)} | {field.metadata['description']} |"
        for field in fields(Settings)
    ]
    assert re.findall(r"^\| `IMGEDIT_.*\|$", readme, re.MULTILINE) == expected


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`" if default != "" else "empty"


def test_settings_come_from_the_environment_and_name_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("imgedit_abc\n")
    given = {
        "IMGEDIT_STUDIO_PORT": "99",
        "IMGEDIT_STUDIO_TLS": "true",
        "IMGEDIT_STUDIO_TOKEN_FILE": str(tmp_path / "token"),
    }
    found = settings.load_settings(given)
    assert (found.port, found.tls, found.client_options["token"]) == (99, True, "imgedit_abc")
    for name, value in (("PORT", "x"), ("PORT", "-1"), ("TLS", "maybe"), ("LANGUAGE", "fr"), ("UNKNOWN", "1")):
        with pytest.raises(SettingsError, match=f"IMGEDIT_STUDIO_{name}"):
            settings.load_settings({f"IMGEDIT_STUDIO_{name}": value})
    with pytest.raises(SettingsError, match="IMGEDIT_STUDIO_TOKEN_FILE"):
        _ = replace(found, token_file=str(tmp_path / "missing")).client_options


def test_on_loopback_only_the_names_of_this_machine_are_taken() -> None:
    assert start.hosts(Settings()) == ["localhost", "127.0.0.1", "::1"]
    assert start.hosts(Settings(host="0.0.0.0")) == []
    assert start.hosts(Settings(hosts="a.example, *.b.example")) == ["a.example", "*.b.example"]


def test_streamlit_is_told_its_address_and_to_send_no_statistics() -> None:
    options = start.options(Settings(host="0.0.0.0"))
    assert options["browser.serverAddress"] == "localhost"
    assert options["browser.gatherUsageStats"] is False
    assert options["server.maxUploadSize"] == 64


def test_a_zip_has_every_result_in_the_order_of_the_upload_and_tasks_drop_their_images() -> None:
    tasks = [
        _finished("park.png", b"RIFFxxxxWEBP"),
        *(_finished("gym.png", png(Image.new("RGB", (20, side)))) for side in (20, 30)),
    ]
    batch = Batch(tasks, "imgedit.zip")
    for task in reversed(tasks):
        batch.keep(task)
    with zipfile.ZipFile(io.BytesIO(batch.zipped())) as read:
        assert read.namelist() == ["park-inpainting-7.webp", "gym-inpainting-7.png", "gym-inpainting-7-2.png"]
        assert decoded(read.read("gym-inpainting-7-2.png")).size == (20, 30)
        assert read.testzip() is None
    assert batch.picture(tasks[0]) == b"RIFFxxxxWEBP"
    assert tasks[0].result is not None
    assert not tasks[0].result.answer.output_image[4:]


def test_a_batch_whose_disk_is_full_keeps_the_results_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    task = _finished("a.png", b"RIFFxxxxWEBP")
    batch = Batch([task], "imgedit.zip")
    with Path("/dev/full").open("r+b", buffering=0) as full:
        monkeypatch.setattr(batch, "_file", full)
        batch.keep(task)
    assert batch.picture(task) == b"RIFFxxxxWEBP"
    with zipfile.ZipFile(io.BytesIO(batch.zipped())) as read:
        assert read.read("a-inpainting-7.webp") == b"RIFFxxxxWEBP"


def test_another_try_takes_the_place_of_the_edit_that_failed() -> None:
    first, last = _finished("a.png", b"RIFF1"), _finished("c.png", b"RIFF3")
    failed = replace(_finished("b.png", b""), result=None, error=QueueFull("full"), values={"prompt": "a gym"})
    batch = Batch([first, failed, last], "imgedit.zip")
    assert batch.unfinished == [failed]
    [renewed] = batch.again(batch.unfinished)
    assert batch.tasks == [first, renewed, last]
    assert (renewed.source, renewed.options, renewed.values) == (failed.source, failed.options, {"prompt": "a gym"})
    assert renewed.request_id != failed.request_id
    assert renewed.state == "waiting"


def test_the_name_of_a_zip_tells_the_feature_and_the_time() -> None:
    now = datetime(2026, 3, 9, 7, 5)
    assert batches.zip_name("inpainting", now) == "imgedit-inpainting-20260309-0705.zip"
    assert batches.zip_name("inpainting", now, 2) == "imgedit-inpainting-20260309-0705-2.zip"


def test_a_session_has_room_for_some_batches_within_the_memory_of_its_uploads() -> None:
    session = Session()
    session.batches = [Batch([_finished(f"{number}.png", b"RIFF")], "imgedit.zip") for number in range(3)]
    sources = [task.source for batch in session.batches for task in batch.tasks]
    held, another = sum(len(source.data) for source in sources), input_images.open_image("a.png", sources[0].data)
    assert session.byte_count >= held
    assert session.has_room_for([another], held + len(another.data))
    assert not session.has_room_for([another], held + len(another.data) - 1)
    assert session.has_room_for(sources, held)  # the same images again
    session.look_at_batch(session.batches[1])
    session.drop_batch(session.batches[1])
    assert session.shown_batch is None
    assert session.has_room_for([another], held)
    session.batches *= 4  # the same two are counted once
    assert session.has_room_for([another], held)
    session.batches = [Batch([_finished("a.png", b"RIFF")], "imgedit.zip") for _ in range(MOST_BATCHES)]
    assert not session.has_room_for([], 10**9)


def _finished(name: str, output: bytes) -> Task:
    source = input_images.open_image(name, png(Image.new("RGB", (20, 20))))
    answer = edit_pb2.EditResponse(output_image=output, seed=7, effective={"feature_id": "inpainting", "steps": 28})
    result = Result(1, source, {"experiment": "ben2_flux_fill"}, answer, b"", b"", b"", None, None)
    return Task(source, {"experiment": "ben2_flux_fill"}, result=result)
