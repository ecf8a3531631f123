"""Table 1 for any data set: a grid of campaigns, what it costs them to come close to all labels."""
