"""What a dataset is made of, as digests, and the datasets that are there already, by those digests."""
