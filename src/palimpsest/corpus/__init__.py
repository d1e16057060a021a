"""The corpus stage: reads one language's raw text, and writes cleaned, deduplicated and split shards.

``build_corpus.py`` is the entry. ``reading`` turns files of any type into batches of records, ``cleaning`` turns a
batch into documents (filters, masking, decontamination), ``deduplication`` computes MinHash keys and finds duplicates.
docs/formats.md describes the output.
"""
