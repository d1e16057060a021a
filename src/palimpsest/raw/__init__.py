"""Stage raw: fetch, reference or generate the documents that everything else is made from."""
