"""Settlement: fees, shares, sums of charges, statements."""
