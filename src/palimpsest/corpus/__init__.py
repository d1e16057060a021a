"""The corpus stage: one language's raw text in, cleaned, deduplicated and split shards out (docs/formats.md)."""
