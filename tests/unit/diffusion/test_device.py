"""The device of a setting: which names there are, and GPUs that are not there."""

from __future__ import annotations

import pytest
import torch

from imgedit.errors import SettingsError
from services.common.settings import ModelSettings, load_settings
from services.diffusion.networks import device
from services.fill.settings import FillSettings
from services.qwen_edit.settings import QwenEditSettings
from services.segmentation.settings import SegmentationSettings

SETTINGS = (FillSettings, QwenEditSettings, SegmentationSettings)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Two GPUs; the devices that are made the current one."""
    found: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", found.append)
    return found


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:0", "cuda:12"])
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.__name__)
def test_every_model_service_takes_the_name_of_a_device(
    settings: type[ModelSettings], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(settings.variable("models"), "/models")
    monkeypatch.setenv(settings.variable("device"), name)
    assert load_settings(settings).device == name


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cuda:x", "CUDA:0", "cuda:0 ", "cuda:1000", "mps"])
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.__name__)
def test_what_is_no_device_is_refused_by_the_name_of_its_variable(
    settings: type[ModelSettings], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(settings.variable("models"), "/models")
    monkeypatch.setenv(settings.variable("device"), name)
    with pytest.raises(SettingsError, match=settings.variable("device")):
        load_settings(settings)


def test_a_gpu_is_chosen_by_its_number(chosen: list[torch.device]) -> None:
    assert device.device_named("cuda:1") == torch.device("cuda:1")
    assert chosen == [torch.device("cuda:1")]
    assert device.device_named("auto") == device.device_named("cuda") == torch.device("cuda")
    assert len(chosen) == 1


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(
    chosen: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="'cuda:2' was requested and cuda:0 to cuda:1 are available"):
        device.device_named("cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SettingsError, match="cuda:0 alone is available"):
        device.device_named("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="CUDA is not available"):
        device.device_named("cuda:0")
    assert chosen == []
