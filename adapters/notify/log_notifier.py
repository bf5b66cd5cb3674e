"""The notifier that is always there: it writes notices to the structured log. Mail, SMS and WeChat are further
notifiers beside it."""

from __future__ import annotations

from hashlib import blake2s
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from twin.ports import Addressees

if TYPE_CHECKING:
    from collections.abc import Mapping

log = structlog.get_logger("notice")
EVERYBODY = Addressees()


class LogNotifier:
    """Tells people by the log; the proof is a digest of what was written."""

    async def notify(
        self, site: str, tenant: str, template: str, data: Mapping[str, Any], addressees: Addressees = EVERYBODY
    ) -> str:
        """Write one notice and whom it is for; returns `log:<digest>`."""
        people = [msgspec.to_builtins(one) for one in addressees.people]
        body = msgspec.json.encode([site, tenant, template, dict(data), addressees], order="sorted")
        log.info(
            "notice",
            site=site,
            tenant=tenant,
            template=template,
            to=addressees.to,
            people=people,
            **({"channels": list(addressees.channels)} if addressees.channels else {}),
            **{f"data_{key}": value for key, value in data.items()},
        )
        return "log:" + blake2s(body, digest_size=8).hexdigest()
