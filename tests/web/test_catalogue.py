"""A new experiment appears by itself.

It is an entry in the catalogue and nothing else.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.demo_stack import DemoStack
from tests.e2e.orchestrators import orchestrator
from tests.web.studio_page import Studio
from tests.web.test_errors import page_of_its_own

CATALOGUE = """
experiments:
  - id: "portrait_shop"
    name: "증명사진"
    description: "배경을 *하얗게*"
    models: [{model_id: "BEN2"}, {model_id: "Qwen-Image-Edit-2509"}]
    features:
      - id: "white"
        name: "흰 배경으로"
        stages:
          - segment
          - mask: {choose: subject}
          - qwen_edit: {background: remove}
          - composite
        parameters:
          steps: {default: 4, min: 2, max: 12, recommended: [3, 6]}
          guidance_scale: {default: 1.0, min: 1.0, max: 3.0}
          strength: {default: 0.5, min: 0.25, max: 0.75}
      - id: "cut"
        name: "배경만 제거"
        stages: [segment]
"""

pytestmark = pytest.mark.timeout(400)


def test_a_new_experiment_has_its_own_form(context: BrowserContext, demo_stack: DemoStack, tmp_path: Path) -> None:
    catalogue = tmp_path / "experiments.yaml"
    catalogue.write_text(CATALOGUE, encoding="utf-8")
    samples = Path(__file__).parents[2] / "demo" / "samples"
    with (
        orchestrator(demo_stack.ports, catalogue, tmp_path) as server,
        page_of_its_own(tmp_path, server=server.target, samples=str(samples)) as url,
    ):
        studio = Studio(context.new_page(), url)
        studio.open()
        expect(studio.page.get_by_role("radio", name="증명사진")).to_be_checked()
        tiles = studio.page.get_by_role("group", name="무엇을 할까요?").get_by_role("button")
        expect(tiles).to_contain_text(["흰 배경으로", "배경만 제거"])
        expect(studio.page.get_by_text("배경을 *하얗게*")).to_be_visible()
        steps = studio.page.get_by_role("slider", name="Steps")
        expect(steps).to_have_value("4")
        assert (steps.get_attribute("min"), steps.get_attribute("max")) == ("2", "12")
        expect(studio.page.get_by_text("권장 3–6")).to_be_visible()
        studio.sample()
        studio.prompt("흰 배경의 증명사진")
        studio.edit()
        assert (studio.used("Steps"), studio.used("배경 처리")) == ("4", "흰 배경")
        studio.choose("배경만 제거")
        expect(studio.page.get_by_label("프롬프트", exact=True)).to_have_count(0)
        expect(steps).to_have_count(0)
        studio.edit()
        assert studio.downloaded_image().mode == "RGBA"
        studio.check_manners()
