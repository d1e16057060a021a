"""What a params file asks for, before anything runs: tokens, FLOPs, accelerator hours, wall time and disk."""
