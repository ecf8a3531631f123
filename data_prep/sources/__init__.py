"""The kinds of data sets that `prepare` reads."""
