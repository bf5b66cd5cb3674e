"""The documentation, and the program that makes those of its pages that follow from code."""
