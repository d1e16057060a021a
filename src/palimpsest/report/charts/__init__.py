"""The figures of the report, one file per chart, as Vega-Lite specs built with Altair (chart.py)."""
