"""Files of any type as a stream of batches of undecoded records, from any position on."""
