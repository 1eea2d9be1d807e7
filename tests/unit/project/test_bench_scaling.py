"""The arithmetic and the plots of `python -m benchmarks.scaling`."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.estimates import exponent
from benchmarks.scaling import __main__ as scaling
from benchmarks.scaling.measure import Load, Point
from benchmarks.scaling.plot import HEIGHT, WIDTH, draw

SVG = "{http://www.w3.org/2000/svg}"


def test_an_axis_reports_the_exponent_of_each_figure(tmp_path: Path) -> None:
    points = [Point(x, [2 * x, 2 * x], x**0.5, int(2**30 * x)) for x in (1.0, 4.0, 9.0)]
    found = scaling.row("clients", points, tmp_path)
    assert found["name"] == "clients"
    assert found["latency_s_exponent"]["exponent"] == pytest.approx(1)
    assert found["cpu_s_exponent"]["exponent"] == pytest.approx(0.5)
    assert found["points"][1] == {"x": 4.0, "edits": 2, "latency_s": 8.0, "cpu_s": 2.0, "peak_mib": 4096.0}
    assert {path.name for path in tmp_path.iterdir()} == {f"clients-{figure}.svg" for figure in scaling.FIGURES}


def test_a_plot_has_every_point_inside_and_its_line() -> None:
    points = [(0.25, 1.0), (1.0, 1.0), (25.0, 1.0)]
    fit = exponent(*zip(*points, strict=True))
    root = ElementTree.fromstring(draw("a < b", "x", "y", points, fit))
    circles = root.findall(f"{SVG}circle")
    assert len(circles) == 3
    for circle in circles:
        assert 0 < float(circle.attrib["cx"]) < WIDTH
        assert 0 < float(circle.attrib["cy"]) < HEIGHT
    [line] = root.findall(f"{SVG}polyline")
    assert len({point.split(",")[1] for point in line.attrib["points"].split()}) == 1  # exponent 0 is level
    assert "a < b" in [text.text for text in root.findall(f"{SVG}text")]


def test_every_axis_changes_one_thing_alone() -> None:
    for axis, xs in scaling.AXES.items():
        for x in xs:
            load = scaling.load_at(axis, x)
            changed = {name for name, value in vars(load).items() if value != getattr(Load(), name)}
            assert len(changed) <= 1, (axis, x)
    assert scaling.load_at("pixels", 12).megapixels == 12
    assert scaling.load_at("cache", 4).per_image == 4
