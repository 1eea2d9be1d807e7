"""A panel's content, and its conversion to Grafana's SDK."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import StackingConfig
from grafana_foundation_sdk.models.common import StackingMode
from grafana_foundation_sdk.models.dashboard import Dashboard, DashboardLinkType, DataSourceRef, GridPos

from deploy.project import documentation

RUNBOOKS = f"{documentation()}/operations.md"

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH, HEIGHT = 24, 8


@dataclass(frozen=True)
class Panel:
    """One panel: titles in Korean and English, a unit, and queries with their legends.

    kind: lines, stacked lines, or one number. width: of the dashboard's 24 columns. help: in both languages. runbook:
    the section of docs/operations.md that says what to do about it.
    """

    korean: str
    english: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: Literal["lines", "stack", "number"] = "lines"
    width: int = 8
    help: str = ""
    runbook: str = ""

    @property
    def title(self) -> str:
        """Both titles."""
        return f"{self.korean} · {self.english}"

    def build(self, place: GridPos) -> timeseries.Panel | stat.Panel:
        """The SDK's builder of this panel."""
        made: timeseries.Panel | stat.Panel = stat.Panel() if self.kind == "number" else timeseries.Panel()
        made.title(self.title).description(self.help).unit(self.unit).datasource(SOURCE).grid_pos(place)
        link = dashboard.DashboardLink(f"대처 방법 · What to do: {self.runbook}").type(DashboardLinkType.LINK)
        made.links([link.url(f"{RUNBOOKS}#{self.runbook}").target_blank(True)])
        if isinstance(made, timeseries.Panel):
            made.min(0).fill_opacity(60 if self.kind == "stack" else 8).line_width(1)
            if self.kind == "stack":
                made.stacking(StackingConfig().mode(StackingMode.NORMAL))
        for number, (expression, legend) in enumerate(self.queries):
            query = prometheus.Dataquery().expr(expression).legend_format(legend).datasource(SOURCE)
            made.with_target(query.ref_id(chr(ord("A") + number)))
        return made


@dataclass(frozen=True)
class Row:
    """A row of panels under a heading in both languages."""

    korean: str
    english: str
    panels: Sequence[Panel]


def build(uid: str, korean: str, english: str, rows: Sequence[Row]) -> Dashboard:
    """A dashboard: rows of panels, laid out from left to right."""
    made = dashboard.Dashboard(f"imgedit · {korean} · {english}").uid(uid).tags(["imgedit"])
    made.refresh("30s").time("now-6h", "now").timezone("browser").readonly()
    made.with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    numbers = itertools.count(1)  # of the panels: Grafana identifies them by it
    y = 0
    for row in rows:
        heading = (
            dashboard.Row(f"{row.korean} · {row.english}").id(next(numbers)).grid_pos(GridPos(h=1, w=WIDTH, x=0, y=y))
        )
        made.with_row(heading)
        x, y = 0, y + 1
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y = 0, y + HEIGHT
            made.with_panel(panel.build(GridPos(h=HEIGHT, w=panel.width, x=x, y=y)).id(next(numbers)))
            x += panel.width
        y += HEIGHT
    return made.build()
