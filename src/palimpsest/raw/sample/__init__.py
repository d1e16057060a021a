"""The built-in sample corpus: small worlds told in five languages by a seeded generator, with planted flaws.

It is for trying out and for tests, and scales to any size; nothing learnt on it is a research result.
"""

from palimpsest.raw.sample.generate import Sample, documents
from palimpsest.raw.sample.question import cloze

__all__ = ["Sample", "cloze", "documents"]
