"""The figures of the report, one file a chart; svg.py is what they are drawn with."""
