"""Site policies: compiled from what the registry holds, shared by every decision, renewed when the sources change."""

from __future__ import annotations

from hashlib import blake2s
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec
import structlog

from billing.tariff import compile_tariff
from billing.tariff_fields import TariffError
from rules.errors import RulesetError
from rules.literals import read_duration
from rules.ruleset import compile_ruleset
from twin.core.policy import SitePolicy
from twin.core.view import TWIN_MODEL

if TYPE_CHECKING:
    from twin.ports import Registry, SiteDocument

log = structlog.get_logger(__name__)

DEFAULT_INTERVAL_MS = 900_000


def compile_policy(document: SiteDocument, *, skew_ms: int | None) -> SitePolicy:
    """Compile a site's settings, tariffs and rulesets.

    Raises TariffError or RulesetError with the place for a file that does not hold together.
    """
    site = document.site
    timezone = site["timezone"]
    policy = SitePolicy(
        site=site["site"],
        zone=ZoneInfo(timezone),
        currency=site.get("currency", "CNY"),
        interval_ms=int(read_duration(site["interval"])) if "interval" in site else DEFAULT_INTERVAL_MS,
        tariffs={name: compile_tariff(tariff, timezone) for name, tariff in document.tariffs.items()},
        rulesets=[compile_ruleset(ruleset, TWIN_MODEL) for ruleset in document.rulesets.values()],
        params=site.get("params", {}),
        skew_ms=skew_ms,
        version=fingerprint(document),
    )
    policy.aliases = site.get("aliases", {})
    return policy


def fingerprint(document: SiteDocument) -> str:
    """A short text that changes whenever anything a policy is compiled from does."""
    policy_part = {key: document.site.get(key) for key in ("site", "timezone", "currency", "interval", "params")}
    text = msgspec.json.encode([policy_part, document.tariffs, document.rulesets], order="sorted")
    return blake2s(text, digest_size=8).hexdigest()


class CompiledPolicies:
    """The `Policies` port over a registry. `refresh` is called by the scheduler and after an import."""

    def __init__(self, registry: Registry, *, skew_ms: int | None = 300_000) -> None:
        self._registry = registry
        self._skew_ms = skew_ms
        self._policies: dict[str, SitePolicy] = {}
        self._marks: dict[str, str] = {}

    async def policy(self, site: str) -> SitePolicy:
        """The site's policy; raises LookupError for a site that was never imported."""
        known = self._policies.get(site)
        return known if known is not None else await self.refresh(site)

    async def refresh(self, site: str) -> SitePolicy:
        """Look whether the sources have changed, and compile them anew if so. A file that does not compile
        changes nothing."""
        document = await self._registry.policy_sources(site)
        known = self._policies.get(site)
        if known is not None and known.version == fingerprint(document):
            return known
        policy = compile_policy(document, skew_ms=self._skew_ms)
        self._policies[site] = policy
        return policy

    async def refresh_all(self) -> None:
        """Refresh every site that is in use."""
        for site in list(self._policies):
            await self._refresh_or_keep(site)

    async def refresh_moved(self) -> None:
        """Refresh the sites in use whose mark has moved since the last look."""
        for site in list(self._policies):
            mark = await self._registry.policy_mark(site)
            if self._marks.get(site) != mark:
                await self._refresh_or_keep(site)
                self._marks[site] = mark

    async def _refresh_or_keep(self, site: str) -> None:
        """One site whose sources do not compile keeps its policy, and does not hold up the others."""
        try:
            await self.refresh(site)
        except (RulesetError, TariffError) as error:
            log.error("the policy does not compile, the one before stays in force", site=site, reason=str(error)[:500])
