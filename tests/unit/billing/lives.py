"""A generated life as the product sees it."""

from billing.history import Charge, Epoch, History, Occupancy, Payer, Tenancy, rate_history
from billing.points import Point
from billing.rerating import Assignment, facts_of
from billing.tariff import Tariff
from tests.unit.billing.life_oracle import Life

LANDLORD = "landlord:vacancy"


def payer(tenant: str, tariff: str) -> Payer:
    """A payer with the account the ledger gives it."""
    return Payer(tenant, f"tenant:{tenant}:wallet" if tenant else LANDLORD, tariff)


def occupancy(life: Life, tariffs: dict[str, Tariff]) -> Occupancy:
    """Who pays over the life."""
    tenancies = [Tenancy(payer(one.tenant, one.tariff), one.from_ts, one.to_ts) for one in life.tenancies]
    return Occupancy(tenancies, tariffs, payer("", life.vacancy), life.zone)


def epochs(life: Life) -> list[Epoch]:
    """The registers of the life."""
    return [Epoch(number, [Point(*sample) for sample in one]) for number, one in enumerate(life.epochs, 1)]


def rated(life: Life, tariffs: dict[str, Tariff]) -> History:
    """The charges of the life."""
    return rate_history(epochs(life), occupancy(life, tariffs))


def posted(charges: list[Charge]) -> list[Assignment]:
    """Charges as if each had been posted as a row of its own."""
    rows: list[Assignment] = []
    for charge in charges:
        one = charge.priced
        place = (charge.epoch, one.from_qty, one.to_qty, one.from_ts, one.to_ts)
        rows.append(Assignment(*place, facts_of(charge), one.estimated, one.from_qty))
    return rows
