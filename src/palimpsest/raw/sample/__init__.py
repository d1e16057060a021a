"""The built-in sample corpus: small worlds told in five languages by a seeded generator, with planted flaws.

It is for trying out and for tests, and scales to any size; nothing learnt on it is a research result.
"""

from palimpsest.raw.sample.cloze_questions import cloze_questions
from palimpsest.raw.sample.sample_documents import SampleDocument, sample_documents

__all__ = ["SampleDocument", "cloze_questions", "sample_documents"]
