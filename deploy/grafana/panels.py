"""Graphs, numbers and tables as every dashboard has them, and how they are laid out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH = 24
FLEET, ONE_RUN, DETECTOR = "anomaly-fleet", "anomaly-run", "anomaly-detector"
"""The dashboards' uids, of which their addresses are made: /d/<uid>. Pages link to the first two."""
GREEN, ORANGE, RED = "green", "orange", "red"

Panel = stat.Panel | table.Panel | timeseries.Panel


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and what its series are called: text with ``{{label}}`` in it."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table whose rows are runs: an instant query that gives one value a run."""

    title: str
    expression: str
    unit: str = "short"
    decimals: int | None = None


def graph(
    title: str, description: str, *queries: Query, unit: str = "short", stacked: bool = False,
    bars: bool = False, limit: float | None = None, from_zero: bool = True,
) -> timeseries.Panel:  # fmt: skip
    """Values over time. `limit` is drawn as a line."""
    panel = timeseries.Panel().title(title).description(description).datasource(SOURCE).unit(unit)
    panel.line_width(1).fill_opacity(0).show_points(common_models.VisibilityMode.NEVER)
    panel.legend(
        common.VizLegendOptions()
        .show_legend(len(queries) > 1 or "{{" in queries[0].legend)
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
    )
    panel.tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    if stacked:
        panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL)).fill_opacity(30)
    if bars:
        panel.draw_style(common_models.GraphDrawStyle.BARS).fill_opacity(80)
    if from_zero:
        panel.min(0)
    if limit is not None:
        panel.thresholds(_steps((None, GREEN), (limit, RED)))
        style = common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED)
        panel.thresholds_style(style)
    for number, query in enumerate(queries):
        panel.with_target(_target(query, number).range())
    return panel


def number(
    title: str, description: str, expression: str, unit: str = "short", *, orange_from: float | None = None,
    red_from: float | None = None, red_below: float | None = None, decimals: int | None = None,
) -> stat.Panel:  # fmt: skip
    """One number of now, coloured from these values on."""
    panel = stat.Panel().title(title).description(description).datasource(SOURCE).unit(unit)
    panel.graph_mode(common_models.BigValueGraphMode.NONE)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.color_mode(common_models.BigValueColorMode.VALUE)
    if decimals is not None:
        panel.decimals(decimals)
    if red_below is not None:
        panel.thresholds(_steps((None, RED), (red_below, GREEN)))
    else:
        panel.thresholds(_steps((None, GREEN), (orange_from, ORANGE), (red_from, RED)))
    return panel.with_target(_target(Query(expression), 0).instant())


def runs_table(title: str, description: str, columns: Sequence[Column]) -> table.Panel:
    """A row a run, with a link to its dashboard; sorted by the first column, the largest on top."""
    panel = _table(title, description)
    for at, column in enumerate(columns):
        panel.with_target(_target(Query(column.expression), at).instant().format(PromQueryFormat.TABLE))
    values = [f"Value #{_letter(at)}" for at in range(len(columns))]
    names = dict(zip(values, (column.title for column in columns), strict=True))
    order = {name: at for at, name in enumerate(["run", *values])}
    panel.with_transformation(_change("joinByField", byField="run", mode="outer"))
    panel.with_transformation(_change("filterFieldsByName", include={"names": list(order)}))
    panel.with_transformation(_change("organize", indexByName=order, renameByName=names))
    for column in columns:
        panel.override_by_name(column.title, _as(column.unit, column.decimals))
    panel.override_by_name("run", [LINK_TO_RUN])
    return panel.sort_by([common.TableSortByFieldState().display_name(columns[0].title).desc(True)])


def labels_table(
    title: str, description: str, expression: str, columns: Sequence[str], value: str, unit: str
) -> table.Panel:
    """A row a series: its labels `columns`, and its value under the heading `value`."""
    panel = _table(title, description)
    panel.with_target(_target(Query(expression), 0).instant().format(PromQueryFormat.TABLE))
    order = {name: at for at, name in enumerate([*columns, "Value"])}
    panel.with_transformation(_change("filterFieldsByName", include={"names": list(order)}))
    panel.with_transformation(_change("organize", indexByName=order, renameByName={"Value": value}))
    panel.override_by_name(value, _as(unit, None))
    if "run" in columns:
        panel.override_by_name("run", [LINK_TO_RUN])
    return panel.sort_by([common.TableSortByFieldState().display_name(value).desc(True)])


def laid_out(board: dashboard.Dashboard, *rows: tuple[str, int, Sequence[Panel]]) -> dashboard.Dashboard:
    """Add rows: a heading (empty: none), a height, and panels that share the width."""
    top, identifier = 0, 0
    for heading, height, panels in rows:
        if heading:
            identifier += 1
            place = models.GridPos(h=1, w=WIDTH, x=0, y=top)
            board.with_row(dashboard.Row(heading).id(identifier).grid_pos(place))
            top += 1
        width = WIDTH // len(panels)
        for at, panel in enumerate(panels):
            identifier += 1
            place = models.GridPos(h=height, w=width, x=at * width, y=top)
            board.with_panel(panel.id(identifier).grid_pos(place))
        top += height
    return board


def board(title: str, uid: str, description: str, since: str) -> dashboard.Dashboard:
    """An empty dashboard with its data source as a variable, and links to the other ones."""
    made = dashboard.Dashboard(title).uid(uid).description(description).tags(["training-anomaly"]).editable()
    made.time(f"now-{since}", "now").refresh("10s").timezone("browser")
    made.tooltip(models.DashboardCursorSync.CROSSHAIR)
    made.link(
        dashboard.DashboardLink("Training anomaly").type(models.DashboardLinkType.DASHBOARDS)
        .tags(["training-anomaly"]).keep_time(True)
    )  # fmt: skip
    source = dashboard.DatasourceVariable("datasource").type("prometheus").label("Prometheus")
    return made.with_variable(source)


def _target(query: Query, at: int) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(query.expression).ref_id(_letter(at)).datasource(SOURCE)
    return made.legend_format(query.legend or "__auto")


def _table(title: str, description: str) -> table.Panel:
    return table.Panel().title(title).description(description).datasource(SOURCE)


def _letter(at: int) -> str:
    return chr(ord("A") + at)


def _steps(*steps: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    first, *rest = steps
    kept = [first, *(step for step in rest if step[0] is not None)]
    made = [models.Threshold(value=value, color=color) for value, color in kept]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(made)


def _change(identifier: str, **options: Any) -> models.DataTransformerConfig:
    return models.DataTransformerConfig(id_val=identifier, options=options)


def _as(unit: str, decimals: int | None) -> list[models.DynamicConfigValue]:
    found = [models.DynamicConfigValue(id_val="unit", value=unit)]
    if decimals is not None:
        found.append(models.DynamicConfigValue(id_val="decimals", value=decimals))
    return found


LINK_TO_RUN = models.DynamicConfigValue(
    id_val="links",
    value=[
        {
            "title": "this run",
            "url": f"/d/{ONE_RUN}?var-run=${{__value.raw:percentencode}}&${{__url_time_range}}",
        }
    ],
)
