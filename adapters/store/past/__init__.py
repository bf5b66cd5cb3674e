"""Recorded history and what was known at an instant."""
