"""What surrounds the model while it trains: precision, recomputation, compilation, and the memory allocator."""
