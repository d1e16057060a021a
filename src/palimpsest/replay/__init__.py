"""Experience replay: which sequences a stage trains on, in which order, computed and never stored."""
