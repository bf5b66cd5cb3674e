"""What channels took, what wallets got and what was earned agree, after charges, payments and adjustments alike."""

from __future__ import annotations

from adapters.store.engine.database import Database
from adapters.store.posting.ledger import SqlLedger
from adapters.store.proofs.trial_balance import trial_balance
from billing.points import Point
from tests.integration.test_sql_verify import tamper
from tests.unit.adapters.store.engines import *  # noqa: F403 -- fixtures
from tests.unit.adapters.store.park import SITE
from tests.unit.adapters.store.recorded import HOUR_MS, TENANT, chain
from tests.unit.adapters.store.test_rerating import (  # noqa: F401 -- a fixture
    LATER,
    START,
    WALLET,
    WHO,
    balances,
    findings,
    late,
    owed,
    post,
    rerate,
    samples,
    shop,
)
from twin.ports import TopUp


async def test_the_books_reconcile_and_a_payment_that_was_changed_shows(shop: Database, url: str) -> None:  # noqa: F811
    known, missing = samples((0, 100), (12, 1300), (24, 2000)), Point(START + 8 * HOUR_MS, 1250)
    ledger = SqlLedger(shop)
    for number, channel in enumerate(("cash", "wechat", "wechat")):
        wanted = TopUp(TENANT, 5_000_000_000, channel, f"R-{number}", f"k-{number}", "bob", LATER)
        await ledger.top_up(SITE, wanted)
    await post(shop, chain(known, WHO), [late(missing)])
    await rerate(shop)
    books = await trial_balance(shop, SITE, detailed=True)
    lines = {row.account: row.net_nano for row in books.rows}
    everything = sorted([*known, missing], key=lambda point: point.ts)
    assert books.off_nano == 0
    assert lines["clearing:cash"] == -5_000_000_000
    assert lines["clearing:wechat"] == -10_000_000_000
    assert lines["revenue:electricity"] == owed(everything)
    assert lines[WALLET] == (await balances(shop))[WALLET] == 15_000_000_000 - owed(everything)
    assert await findings(shop) == []
    await tamper(url, "UPDATE payment SET amount_nano = 1 WHERE channel = 'cash'")
    assert "payment" in await findings(shop)
