"""Grafana's dashboards, written here and generated: ``python -m deploy.grafana`` writes ``dashboards/*.json``.

panels      graphs, numbers and tables, as all dashboards have them
fleet       *Training fleet*: every run at a glance
one_run     *One run*
detector    *The detector itself*: worker and notifier

Grafana reads the JSON (`provisioning/`). Queries name their data source by the variable ``$datasource``.
"""
