"""What an installation keeps, and where: twins, effects and leases in Redis, everything else in SQL.

A store added to the product gets its line here; the flows of `api.bootstrap.flows` are built on these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.documents.files import SiteDocuments
from adapters.store.account_reads import SqlAccountReads
from adapters.store.accounts_desk import SqlAccounts
from adapters.store.act_marks import SqlActMarks
from adapters.store.alarm_care import SqlAlarms
from adapters.store.answers import SqlAnswers
from adapters.store.bill_reads import SqlBills
from adapters.store.books import SqlBooks
from adapters.store.consents import SqlConsents
from adapters.store.contacts import SqlContacts
from adapters.store.explained_lines import SqlExplanations
from adapters.store.gauges import SqlGauges
from adapters.store.held_firings import SqlHeldFirings
from adapters.store.history import SqlHistory
from adapters.store.incident_acts import SqlIncidents
from adapters.store.ledger import SqlLedger
from adapters.store.meter_desk import SqlMeters
from adapters.store.past import SqlPast
from adapters.store.payment_book import SqlPaymentBook
from adapters.store.plans_desk import SqlPlans
from adapters.store.proofs import SqlProofs
from adapters.store.queries import SqlQueries
from adapters.store.registry import SqlRegistry
from adapters.store.report_queries import SqlReports
from adapters.store.rerating import SqlReratings
from adapters.store.rule_book import SqlRuleBook, SqlShadows
from adapters.store.settlement import SqlSettlement
from adapters.store.switch_history import SqlSwitchings
from adapters.store.switching import SqlSwitching
from adapters.store.tokens import SqlTokens
from adapters.store.webhook_book import SqlWebhookBook
from adapters.store.whatif_facts import SqlWhatIfs
from adapters.twins.connection import connect
from adapters.twins.leases import RedisLeases
from adapters.twins.store import RedisTwinStore
from adapters.twins.stream import RedisEffectStream

if TYPE_CHECKING:
    from adapters.store.database import Database
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
