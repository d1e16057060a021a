"""Exact and near duplicates: shingles, MinHash signatures, keys on disk, and the clusters of equal keys."""
