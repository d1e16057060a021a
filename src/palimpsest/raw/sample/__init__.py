"""The built-in sample corpus: generated stories about small worlds in five languages, with planted flaws.

It is for tests and first runs, and scales to any size; nothing learnt on it is a research result.
"""

from palimpsest.raw.sample.cloze_questions import cloze_questions
from palimpsest.raw.sample.sample_documents import SampleDocument, sample_documents

__all__ = ["SampleDocument", "cloze_questions", "sample_documents"]
