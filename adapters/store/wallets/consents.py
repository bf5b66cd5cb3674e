"""What a tenant agrees to by itself, its emergency credit: recorded and numbered as an act that is owed until it is
posted, so that it outlives the twins and is carried out once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from adapters.store.journals.audit import AuditEntry, record_audit
from adapters.store.journals.idempotency import answered, input_hash, remember
from adapters.store.journals.lock_acts import take_site
from adapters.store.journals.outbox import append_act, decode_act, encode_act, next_seq
from twin.core.messages import EmergencyTaken
from twin.ports import PendingAct

if TYPE_CHECKING:
    from adapters.store.engine.database import Database


class SqlConsents:
    """Tenants' consents."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take_emergency(self, site: str, tenant: str, *, who: str, ts: int, key: str) -> PendingAct:
        """Record that a tenant takes the emergency credit; the same (who, key) again gives the same act.

        Raises LookupError for an unknown site, and MoneyRefusedError `idempotency_conflict` for a key that came with
        another content. Whether it is offered is the twin's to say: one that is not offered changes nothing.
        """
        digest, scope = input_hash("emergency", tenant), f"emergency:{who}"
        async with self._database.write() as tx:
            await take_site(tx, site)
            known = await answered(tx, site, scope, key, digest)
            if known is not None:
                return PendingAct(site, tenant, decode_act(msgspec.json.decode(known)))
            act = EmergencyTaken(await next_seq(tx, site, tenant), who, ts)
            pending = await append_act(tx, site, tenant, act, owed=True)
            await record_audit(tx, site, [AuditEntry(ts, who, "emergency.take", f"tenant {tenant}", None, None)])
            await remember(tx, site, scope, key, digest, msgspec.json.encode(encode_act(act)).decode(), ts)
            return pending
