"""From params.yaml to the lineages and the spec of every stage. Nothing is run here."""
