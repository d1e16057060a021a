"""Stage raw: generates, references or downloads the documents from which all data is built."""
