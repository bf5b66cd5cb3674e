"""Journeys of messages: in the log, and as OpenTelemetry traces."""
