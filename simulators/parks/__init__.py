"""Example parks and the scripts that generate them."""
