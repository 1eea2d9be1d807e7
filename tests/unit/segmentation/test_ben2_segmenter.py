"""The torch side of the segmentation service, on the tiny checkpoint."""

from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
import torch
from PIL import Image

from demo.tiny import ben2 as tiny
from imgedit.errors import InternalError, OutOfMemory, SettingsError
from imgedit.imaging.pixels import Pixels
from services.common.worker import DeviceLost
from services.segmentation import model
from services.segmentation.ben2 import BEN2, load, revision
from services.segmentation.model import Segmenter, prepare, to_input

SIDE = tiny.CONFIG.image_size


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("BEN2")
    tiny.build(folder, seed=20250901)
    return folder


@pytest.fixture(scope="module")
def segmenter(folder: Path) -> Segmenter:
    segmenter = Segmenter.load(folder, device="cpu", precision="fp32")
    segmenter.warm_up()
    return segmenter


@pytest.fixture(scope="module")
def photo() -> Pixels:
    with Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:
        return np.asarray(image.convert("RGB"))


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(4).integers(0, 256, (height, width, 3), np.uint8)


def disc(height: int, width: int) -> Pixels:
    ys, xs = np.mgrid[:height, :width]
    inside = (ys - height / 2) ** 2 + (xs - width / 2) ** 2 < (min(height, width) / 4) ** 2
    return np.where(inside[..., None], (200, 60, 40), (90, 120, 200)).astype(np.uint8)


def test_the_mask_of_a_photograph_is_soft_and_neither_empty_nor_full(segmenter: Segmenter, photo: Pixels) -> None:
    alpha = segmenter.alpha(photo)
    assert alpha.shape == photo.shape[:2]
    assert alpha.dtype == np.float32
    assert 0.2 < (alpha > 0.5).mean() < 0.8
    assert (alpha > 0.98).mean() > 0.02
    assert (alpha < 0.02).mean() > 0.02
    assert ((alpha > 0.1) & (alpha < 0.9)).mean() > 0.02


@pytest.mark.parametrize("make", ["noise", "disc"])
def test_the_mask_of_a_drawing_is_neither_empty_nor_full(segmenter: Segmenter, make: str) -> None:
    alpha = segmenter.alpha({"noise": noise, "disc": disc}[make](300, 240))
    assert 0.05 < (alpha > 0.5).mean() < 0.95


def test_odd_sizes_are_answered_at_their_size(segmenter: Segmenter) -> None:
    assert segmenter.alpha(noise(77, 333)).shape == (77, 333)
    assert segmenter.alpha(noise(16, 16)).shape == (16, 16)


def test_the_same_picture_has_the_same_mask(segmenter: Segmenter, photo: Pixels) -> None:
    first = segmenter.alpha(photo)
    segmenter.alpha(noise(50, 50))
    assert np.array_equal(segmenter.alpha(photo), first)


def test_a_picture_of_the_networks_size_is_not_resized(
    segmenter: Segmenter, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = noise(SIDE, SIDE)
    monkeypatch.delattr(Image.Image, "resize")
    alpha = segmenter.alpha(picture)
    with torch.inference_mode():
        assert np.allclose(alpha, load(folder)(to_input(picture, SIDE))[0, 0].numpy(), atol=1e-3)


def test_the_input_is_normalised_as_the_published_code_does() -> None:
    picture = noise(40, 60)
    resized = np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.float32) / 255
    wanted = (resized - np.asarray(model.IMAGENET_MEAN)) / np.asarray(model.IMAGENET_STD)
    assert np.allclose(to_input(picture, SIDE)[0].permute(1, 2, 0).numpy(), wanted, atol=1e-5)


def test_a_flat_picture_has_a_finite_mask(segmenter: Segmenter) -> None:
    assert np.isfinite(segmenter.alpha(np.full((64, 64, 3), 255, np.uint8))).all()


def test_the_revision_is_the_weights(segmenter: Segmenter, folder: Path) -> None:
    assert segmenter.revision == revision(folder / "model.safetensors")


def test_a_half_precision_mask_that_is_not_finite_is_computed_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "PreparedBEN2", lambda *_: lambda x: torch.full((1, 1, SIDE, SIDE), torch.nan))
    network, retries = load(folder), []
    picture = to_input(noise(SIDE, SIDE), SIDE)
    alpha = prepare(network, precision="bf16", on_retry=lambda: retries.append(1))(picture)
    assert torch.equal(alpha, network(picture))
    assert len(retries) == 1
    assert prepare(network, precision="bf16")(picture).isfinite().all()


def test_on_an_accelerator_it_is_computed_again_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, torch.dtype]] = []

    def accelerated(network: BEN2, device: str, dtype: torch.dtype, **_: object) -> model.Network:
        made.append((device, dtype))
        return network if dtype == torch.float32 else lambda x: torch.full((1, 1, SIDE, SIDE), torch.nan)

    monkeypatch.setattr(model, "AcceleratedBEN2", accelerated)
    network = load(folder)
    picture = to_input(noise(SIDE, SIDE), SIDE)
    run = prepare(network, "cuda", precision="bf16")
    assert made == [("cuda", torch.bfloat16)]
    for _ in range(2):
        assert torch.equal(run(picture), network(picture))
    assert made == [("cuda", torch.bfloat16), ("cuda", torch.float32)]


def test_a_mask_that_is_never_finite_is_an_error(folder: Path) -> None:
    network = load(folder)
    network.conv("output.0").weight.fill_(torch.nan)
    picture = to_input(noise(SIDE, SIDE), SIDE)
    for precision in ("fp32", "bf16"):
        with pytest.raises(InternalError, match="not finite, in float32 either"):
            prepare(network, precision=precision)(picture)


@pytest.mark.parametrize(
    ("features", "precision"),
    [({"amx_bf16": True}, "bf16"), ({"avx512_bf16": True}, "bf16"), ({"avx2": True}, "fp32"), ({}, "fp32")],
)
def test_the_processor_decides_the_precision(
    features: dict[str, bool], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert model.auto_precision("cpu") == precision


@pytest.mark.parametrize(("supported", "precision"), [(True, "bf16"), (False, "fp16")])
def test_the_gpu_decides_the_precision(supported: bool, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert model.auto_precision("cuda") == precision


def test_an_accelerator_gets_its_own_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[object, ...]] = []

    def accelerated(network: BEN2, device: str, dtype: torch.dtype, *, compile_blocks: bool) -> BEN2:
        made.append((device, dtype, compile_blocks))
        return network

    monkeypatch.setattr(model, "AcceleratedBEN2", accelerated)
    run = prepare(load(folder), "cuda", precision="fp16", compile_blocks=True)
    assert made == [("cuda", torch.float16, True)]
    assert run(to_input(noise(SIDE, SIDE), SIDE)).shape == (1, 1, SIDE, SIDE)


def test_the_device_is_a_gpu_where_there_is_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(model, "prepare", lambda network, device, **_: asked.append(device))
    monkeypatch.setattr(model, "auto_precision", lambda _: "bf16")
    for available in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        Segmenter.load(folder)
    assert asked == ["cpu", "cuda"]


@pytest.mark.parametrize("precision", ["fp16", "int4"])
def test_a_precision_that_the_processor_lacks_is_refused(folder: Path, precision: str) -> None:
    with pytest.raises(SettingsError, match=f"precision '{precision}' is not one of"):
        prepare(load(folder), "cpu", precision=precision)


def test_a_gpu_that_is_not_there_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="CUDA is not available"):
        Segmenter.load(folder, device="cuda")


@pytest.mark.parametrize(
    "fault",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    ],
)
def test_out_of_memory_comes_with_advice_and_the_next_picture_works(
    folder: Path, segmenter: Segmenter, photo: Pixels, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [fault]

    def once(run: model.Network) -> model.Network:
        def failing(x: torch.Tensor) -> torch.Tensor:
            if faults:
                raise faults.pop()
            return run(x)

        return failing

    freed: list[torch.device] = []
    monkeypatch.setattr(model, "free_memory", freed.append)
    fragile = Segmenter.load(folder, device="cpu", precision="fp32")
    monkeypatch.setattr(fragile, "_run", once(fragile._run))
    with pytest.raises(OutOfMemory, match=r"smaller picture .2048 → 1024") as caught:
        fragile.alpha(photo)
    assert caught.value.__context__ is None, "an error that holds the frames holds their tensors"
    assert freed == [torch.device("cpu")]
    assert np.array_equal(fragile.alpha(photo), segmenter.alpha(photo))


def test_a_fault_that_is_not_about_memory_is_passed_on(
    segmenter: Segmenter, photo: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(segmenter, "_run", failing)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        segmenter.alpha(photo)


def test_a_fault_after_which_the_device_does_not_answer_is_told_apart(
    segmenter: Segmenter, photo: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("CUDA error: an illegal memory access")

    monkeypatch.setattr(segmenter, "_run", failing)
    monkeypatch.setattr(model, "works", lambda _: False)
    with pytest.raises(DeviceLost, match="an illegal memory access"):
        segmenter.alpha(photo)


def test_the_seed_decides_the_tiny_weights(tmp_path: Path, folder: Path) -> None:
    state = torch.random.get_rng_state()
    tiny.build(tmp_path, seed=20250901)
    assert torch.equal(torch.random.get_rng_state(), state)
    name = "model.safetensors"
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    tiny.build(tmp_path, seed=7)
    assert (tmp_path / name).read_bytes() != (folder / name).read_bytes()
