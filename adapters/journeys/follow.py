"""Who follows messages, by what the settings ask for."""

from __future__ import annotations

from typing import Any

from adapters.journeys.log_lines import LoggedJourneys, SeveralJourneys


class MissingPackagesError(RuntimeError):
    """Traces are asked for and their packages are not installed."""


def open_journeys(*, logged: bool, otlp_url: str, service: str, one_of: int) -> Any:
    """The followers that are asked for; None for none. Raises MissingPackagesError."""
    followers: list[Any] = [LoggedJourneys()] if logged else []
    if otlp_url:
        try:
            from adapters.journeys.spans import open_traces
        except ImportError as error:
            raise MissingPackagesError(
                f"otlp_url is set and {error.name} is not installed: pip install 'twinmeter[otel]'"
            ) from None
        followers.append(open_traces(otlp_url, service=service, one_of=one_of))
    if not followers:
        return None
    return followers[0] if len(followers) == 1 else SeveralJourneys(followers)
