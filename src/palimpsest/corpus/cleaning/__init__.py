"""Batches of records as documents: decoding, normalisation, language and quality filters, masking, decontamination."""
