"""Proofs: verification, anchors, seals, exports."""
