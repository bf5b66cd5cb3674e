"""A meter between two payers is nobody's: neither is shown to the tenant that let go of it, nor can it be switched."""

from __future__ import annotations

from api.http.backend import group_of_device
from tests.unit.api.parks import SITE
from tests.unit.api.stage import Stage
from twin.core.messages import ContractsChanged


async def test_a_device_on_its_way_has_no_group(stage: Stage) -> None:
    directory = stage.store.redis.site(SITE).directory
    groups = [group async for group in await stage.store.groups(SITE)]
    giver = next(group for group in groups if group.tenant is not None and group.meters and group.breakers)
    meter = next(name for name, contract in giver.meter_contracts.items() if contract.breaker in giver.breakers)
    breaker = giver.meter_contracts[meter].breaker
    assert breaker is not None
    for device in (meter, breaker):
        assert (await group_of_device(stage, SITE, device) or giver).id == giver.id  # type: ignore[arg-type]
    act = ContractsChanged(giver.acts_seq + 1, stage.clock.now(), giver.contract, released={meter: "H1"})
    assert not (await stage.applier.apply(SITE, {giver.id: [act]})).failures
    assert directory[meter] == directory[breaker] == giver.id, "what it says is held until it has arrived"
    for device in (meter, breaker, "nobody"):
        assert await group_of_device(stage, SITE, device) is None  # type: ignore[arg-type]
