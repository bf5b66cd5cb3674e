"""Reports over posted rows."""
