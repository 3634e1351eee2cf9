"""File formats: bytes become arrays and the other way round, of no data set in particular."""
