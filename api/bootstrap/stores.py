"""What an installation keeps, and where: twins, effects and leases in Redis, everything else in SQL.

A store added to the product gets its line here; the flows of `api.bootstrap.flows` are built on these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.documents.files import SiteDocuments
from adapters.store.bills.bill_reads import SqlBills
from adapters.store.bills.settlement import SqlSettlement
from adapters.store.meters.explained_lines import SqlExplanations
from adapters.store.meters.meter_desk import SqlMeters
from adapters.store.meters.rerating import SqlReratings
from adapters.store.meters.whatif_facts import SqlWhatIfs
from adapters.store.past.held_firings import SqlHeldFirings
from adapters.store.past.history import SqlHistory
from adapters.store.past.past import SqlPast
from adapters.store.posting.ledger import SqlLedger
from adapters.store.proofs.books import SqlBooks
from adapters.store.proofs.proofs import SqlProofs
from adapters.store.reports.report_queries import SqlReports
from adapters.store.sites.act_marks import SqlActMarks
from adapters.store.sites.contacts import SqlContacts
from adapters.store.sites.plans_desk import SqlPlans
from adapters.store.sites.queries import SqlQueries
from adapters.store.sites.registry import SqlRegistry
from adapters.store.sites.rule_book import SqlRuleBook, SqlShadows
from adapters.store.wallets.account_reads import SqlAccountReads
from adapters.store.wallets.accounts_desk import SqlAccounts
from adapters.store.wallets.consents import SqlConsents
from adapters.store.wallets.payment_book import SqlPaymentBook
from adapters.store.watching.alarm_care import SqlAlarms
from adapters.store.watching.answers import SqlAnswers
from adapters.store.watching.gauges import SqlGauges
from adapters.store.watching.incident_acts import SqlIncidents
from adapters.store.watching.switch_history import SqlSwitchings
from adapters.store.watching.switching import SqlSwitching
from adapters.store.watching.tokens import SqlTokens
from adapters.store.watching.webhook_book import SqlWebhookBook
from adapters.twins.connection import connect
from adapters.twins.leases import RedisLeases
from adapters.twins.store import RedisTwinStore
from adapters.twins.stream import RedisEffectStream

if TYPE_CHECKING:
    from adapters.store.engine.database import Database
    from api.settings import Settings


class Stores:
    """Everything that is kept, opened over one Redis and one database.

    `remember` keeps twins in the memory of this process: right where it decides on readings, wrong where others do and
    this one would go on showing, or deciding on, what it read first.
    """

    def __init__(self, settings: Settings, database: Database, *, remember: bool) -> None:
        self.settings = settings
        self.database = database
        self.redis = connect(settings.redis_url)
        self.store = RedisTwinStore(self.redis) if remember else RedisTwinStore(self.redis, cache_groups=0)
        self.stream = RedisEffectStream(connect(settings.redis_url, retries=0))
        self.leases = RedisLeases(self.redis)
        self._open_site(database)
        self._open_money(database)
        self._open_history(database)

    def _open_site(self, database: Database) -> None:
        """What people decided of sites, meters, breakers and alarms, and who they are."""
        self.registry = SqlRegistry(database)
        self.queries = SqlQueries(database)
        self.meters = SqlMeters(database)
        self.alarms = SqlAlarms(database)
        self.incidents = SqlIncidents(database)
        self.held_firings = SqlHeldFirings(database)
        self.switchings = SqlSwitchings(database)
        self.switching_book = SqlSwitching(database)
        self.plans = SqlPlans(database)
        self.consents = SqlConsents(database)
        self.contacts = SqlContacts(database)
        self.tokens = SqlTokens(database)
        self.answers = SqlAnswers(database)

    def _open_money(self, database: Database) -> None:
        """The books: ledger and acts, accounts, settlement and bills, reports and their documents."""
        self.ledger = SqlLedger(database)
        self.marks = SqlActMarks(database)
        self.accounts = SqlAccounts(database)
        self.payment_book = SqlPaymentBook(database)
        self.account_reads = SqlAccountReads(database)
        self.proofs = SqlProofs(database)
        self.books = SqlBooks(database)
        self.reratings = SqlReratings(database)
        self.months = SqlSettlement(database)
        self.bills = SqlBills(database)
        self.reports = SqlReports(database)
        self.documents = SiteDocuments()
        self.explanations = SqlExplanations(database)
        self.what_ifs = SqlWhatIfs(database)

    def _open_history(self, database: Database) -> None:
        """Recorded history, versions of rules and their shadows, and what is measured of all that is kept."""
        self.history = SqlHistory(database)
        self.past = SqlPast(database)
        self.rule_book = SqlRuleBook(database)
        self.shadows = SqlShadows(database)
        self.webhook_book = SqlWebhookBook(database)
        self.gauges = SqlGauges(database)
