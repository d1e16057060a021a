"""Tokens: one byte-level tokenizer for all languages, and every corpus as memory-mapped shards of token ids."""
