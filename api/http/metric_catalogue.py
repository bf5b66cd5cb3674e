# ruff: noqa: E501 -- a table of sentences
"""The catalogue of metrics: what each one counts, in which unit, the question it answers, and what to do about it.

Nothing is told that does not stand here: `family` refuses another name. The page `docs/operations/metrics.md`, the
dashboard `deploy/grafana/twinmeter.json` and the alerts are held to it by tests.

Labels are bounded: sites, services, and words of our own. No device, tenant or free text ever becomes a label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from prometheus_client import Metric as Family

Kind = Literal["counter", "gauge", "histogram"]
By = Literal["process", "api"]


class Metric(msgspec.Struct, frozen=True):
    """One row: `by` says who tells it, each process of itself or the API of what stands in Redis and SQL."""

    kind: Kind
    unit: str
    labels: tuple[str, ...]
    by: By
    meaning: str
    question: str
    act: str

    def sample(self, name: str) -> str:
        """The name under which it is asked for in a query."""
        return {"counter": f"{name}_total", "histogram": f"{name}_bucket", "gauge": name}[self.kind]


_SITE = ("site",)

CATALOGUE: Final[dict[str, Metric]] = {
    # --- the way in: told by the process that runs ingest
    "twinmeter_stage_seconds": Metric(
        "histogram",
        "seconds",
        ("stage",),
        "process",
        "Time that readings and effects took, by stage: `receipt` (device to ingest, live samples only), `commit` (ingest to twins), `posted` (twins to SQL).",
        "Where between a device and the ledger is time lost?",
        "`receipt`: gateways, network, broker, clocks of devices. `commit`: ingest or Redis. `posted`: the ledger or its database.",
    ),
    "twinmeter_messages": Metric(
        "counter",
        "messages",
        (),
        "process",
        "Messages taken from the broker.",
        "Does anything arrive?",
        "Flat while devices are on: the broker, or the session of ingest.",
    ),
    "twinmeter_readings": Metric(
        "counter",
        "readings",
        (),
        "process",
        "Readings decided on.",
        "How many readings a second?",
        "Compare with meters divided by their interval.",
    ),
    "twinmeter_late_samples": Metric(
        "counter",
        "readings",
        (),
        "process",
        "Samples of the past that gateways had buffered.",
        "Is a gateway storm under way?",
        "Nothing is lost; watch the stages and the stream.",
    ),
    "twinmeter_dead_letters": Metric(
        "counter",
        "messages",
        ("reason",),
        "process",
        "Messages that were not taken: `topic`, `contract`, `unknown_device`, `undecided`.",
        "Who speaks a language we do not understand?",
        "`GET .../dead-letters` names the device and the place; `unknown_device`: import it.",
    ),
    "twinmeter_unknown_devices": Metric(
        "counter",
        "messages",
        (),
        "process",
        "Messages of devices that nobody knows.",
        "Was a device mounted and not imported?",
        "Import the site file that has it.",
    ),
    "twinmeter_undecided_messages": Metric(
        "counter",
        "messages",
        (),
        "process",
        "Messages that could not be decided on.",
        "Does the core fail on something?",
        "The log of ingest has the message and the error; report it.",
    ),
    "twinmeter_ingest_connected": Metric(
        "gauge",
        "0 or 1",
        (),
        "process",
        "1 while ingest is connected.",
        "Does ingest hear the broker?",
        "The broker, its address and its accounts; two ingests with one shard.",
    ),
    "twinmeter_ingest_in_flight": Metric(
        "gauge",
        "messages",
        (),
        "process",
        "Messages in the batch being decided.",
        "Is ingest stuck in a batch?",
        "Constantly full: Redis or the CPU is the limit.",
    ),
    "twinmeter_ingest_acknowledged": Metric(
        "counter",
        "messages",
        (),
        "process",
        "Messages acknowledged to the broker.",
        "Does the broker get rid of its queue?",
        "Behind `messages`: batches fail, see the log.",
    ),
    "twinmeter_ingest_batches": Metric(
        "counter",
        "batches",
        (),
        "process",
        "Batches decided.",
        "How large are batches (messages by batches)?",
        "Large ones are a sign of load, not of trouble.",
    ),
    "twinmeter_ingest_batch_failures": Metric(
        "counter",
        "batches",
        (),
        "process",
        "Batches given back to the broker.",
        "Does ingest fail again and again?",
        "Its log: Redis away, or full.",
    ),
    "twinmeter_broker_reconnects": Metric(
        "counter",
        "connections",
        ("client",),
        "process",
        "Connections to the broker made anew: `ingest`, `recorder`, `commands`.",
        "Is the way to the broker sound?",
        "Its log, the network, keep-alive; two processes with one name.",
    ),
    # --- commands, timers, services of a process
    "twinmeter_published": Metric(
        "counter",
        "messages",
        (),
        "process",
        "Messages that the broker confirmed.",
        "Do commands leave?",
        "Flat while commands wait: the connection of `commands`.",
    ),
    "twinmeter_publisher_connected": Metric(
        "gauge",
        "0 or 1",
        (),
        "process",
        "1 while commands can go out.",
        "Could we switch something now?",
        "The broker and its accounts.",
    ),
    "twinmeter_webhooks_delivered": Metric(
        "counter",
        "calls",
        (),
        "process",
        "Webhook calls that were had.",
        "Do outside systems hear us?",
        "Compare with failures.",
    ),
    "twinmeter_webhooks_failed": Metric(
        "counter",
        "calls",
        (),
        "process",
        "Webhook calls given up.",
        "Does an outside system refuse us?",
        "The log names the webhook and the answer.",
    ),
    "twinmeter_timers_woken": Metric(
        "counter",
        "groups",
        (),
        "process",
        "Groups woken by their timers.",
        "Do timers run?",
        "Flat with timers overdue: the scheduler.",
    ),
    "twinmeter_timer_lateness_seconds": Metric(
        "gauge",
        "seconds",
        (),
        "process",
        "How late the last timers were.",
        "Does the scheduler keep up?",
        "More CPU, or ingest and scheduler apart.",
    ),
    "twinmeter_entries_consumed": Metric(
        "counter",
        "entries",
        ("consumer",),
        "process",
        "Entries of effect streams dealt with, by consumer.",
        "Does each consumer move?",
        "The log of the consumer says what it waits for.",
    ),
    "twinmeter_service_failures": Metric(
        "counter",
        "failures",
        ("service",),
        "process",
        "Parts of a process that failed and were started again.",
        "Does something crash and come back?",
        "Its log has the traceback.",
    ),
    "twinmeter_service_runs": Metric(
        "gauge",
        "0 or 1",
        ("service",),
        "process",
        "1 for each service that runs in this process.",
        "Is every service there?",
        "Start what is missing.",
    ),
    "twinmeter_twins_rebuilt": Metric(
        "counter",
        "rebuilds",
        _SITE,
        "process",
        "Rebuilds of twins from SQL by this process.",
        "Was Redis lost?",
        "[Redis wiped](redis-wiped.md): find out who or what did it.",
    ),
    "twinmeter_shard_owner_changes": Metric(
        "counter",
        "changes",
        ("kind",),
        "process",
        "How often this process came into a piece of work or lost it, by kind: `ingest` is shards of the way in, the others sites or services.",
        "Do shards wander?",
        "Now and then is a hand-over; again and again is a process that stalls.",
    ),
    "twinmeter_leases_held": Metric(
        "gauge",
        "pieces",
        ("kind",),
        "process",
        "Pieces of work that this process owns.",
        "Who does what?",
        "The sum over all processes is the number of pieces; `twinmeter shards` names owners.",
    ),
    "twinmeter_leases_lost": Metric(
        "counter",
        "pieces",
        ("kind",),
        "process",
        "Pieces of work that were not given up but lost, because the process or Redis stood still.",
        "Does a process freeze?",
        "Its CPU, its memory, its way to Redis.",
    ),
    "twinmeter_commits_fenced": Metric(
        "counter",
        "commits",
        ("kind",),
        "process",
        "Commits that the store refused because the work was somebody else's by then.",
        "Did a fence have to hold?",
        "Nothing is wrong with the money; find out why the process stood still.",
    ),
    # --- the recorder
    "twinmeter_recorder_connected": Metric(
        "gauge",
        "0 or 1",
        (),
        "process",
        "1 while the recorder is connected.",
        "Is history being recorded?",
        "Start the recorder; the broker holds a day for it.",
    ),
    "twinmeter_recorder_messages": Metric(
        "counter",
        "messages",
        (),
        "process",
        "Messages written to the recorded history.",
        "How much is recorded?",
        "Flat while messages arrive: its database.",
    ),
    "twinmeter_recorder_skipped": Metric(
        "counter",
        "messages",
        (),
        "process",
        "Messages not recorded: of no known site, or not of the contract.",
        "What does the recorder pass over?",
        "Dead letters say more.",
    ),
    "twinmeter_recorder_unacknowledged": Metric(
        "gauge",
        "messages",
        (),
        "process",
        "Messages delivered to the recorder and not written.",
        "Does the recorder keep up?",
        "Constantly thousands: a slower disk than the park needs.",
    ),
    "twinmeter_recorder_write_seconds": Metric(
        "gauge",
        "seconds",
        (),
        "process",
        "How long the last write to the history took.",
        "Is the history's database slow?",
        "Disk, or `TWINMETER_HISTORY_DAYS` larger than it bears.",
    ),
    # --- what stands in Redis and SQL: told by the API, one look a scrape
    "twinmeter_ledger_lag_entries": Metric(
        "gauge",
        "entries",
        _SITE,
        "api",
        "Effect entries not yet in the ledger.",
        "How far is SQL behind the twins?",
        "The ledger's log; its database.",
    ),
    "twinmeter_ledger_lag_seconds": Metric(
        "gauge",
        "seconds",
        _SITE,
        "api",
        "How far the ledger is behind.",
        "How old would balances in SQL be?",
        "Over 60: [unposted money](unposted-money.md).",
    ),
    "twinmeter_unposted_money_nano": Metric(
        "gauge",
        "nano-units of money (1e-9)",
        _SITE,
        "api",
        "Charges that twins have posted and SQL does not have yet. While `twinmeter_unposted_money_partial` is 1, at least this much.",
        "How much money does Redis alone know?",
        "[Unposted money](unposted-money.md). Losing Redis now would charge it again from the registers.",
    ),
    "twinmeter_unposted_money_seconds": Metric(
        "gauge",
        "seconds",
        _SITE,
        "api",
        "Age of the oldest charge that is not in SQL.",
        "Since when has nothing been posted?",
        "As for the ledger's lag.",
    ),
    "twinmeter_unposted_money_partial": Metric(
        "gauge",
        "0 or 1",
        _SITE,
        "api",
        "1 while the backlog is so long that it is not counted through yet.",
        "Is the sum whole?",
        "It is after some scrapes; meanwhile go by the entries.",
    ),
    "twinmeter_effect_stream_entries": Metric(
        "gauge",
        "entries",
        _SITE,
        "api",
        "Entries in the effect stream.",
        "What does Redis keep, and does it fit?",
        "Grows for an hour: a consumer holds it, see its lag.",
    ),
    "twinmeter_consumer_lag_entries": Metric(
        "gauge",
        "entries",
        ("site", "consumer"),
        "api",
        "Entries a consumer has not dealt with: `ledger`, `commands`, `notices`.",
        "Who is behind?",
        "Start the service; its log.",
    ),
    "twinmeter_timer_overdue_seconds": Metric(
        "gauge",
        "seconds",
        _SITE,
        "api",
        "How long the earliest timer has been due, whether or not a scheduler runs.",
        "Are timers late, and by how much?",
        "Over 10 for a minute: the scheduler is away or overloaded.",
    ),
    "twinmeter_acts_undelivered": Metric(
        "gauge",
        "acts",
        _SITE,
        "api",
        "Payments, locks and other acts that no twin has confirmed.",
        "Has a payment not arrived?",
        "The scheduler delivers them; its log, Redis.",
    ),
    "twinmeter_act_undelivered_seconds": Metric(
        "gauge",
        "seconds",
        _SITE,
        "api",
        "Age of the oldest act that no twin has confirmed.",
        "How long has somebody been waiting?",
        "[Paid but dark](paid-but-dark.md).",
    ),
    "twinmeter_effects_refused": Metric(
        "gauge",
        "effects",
        _SITE,
        "api",
        "Effects that the ledger refused.",
        "Was something not posted?",
        "Table `refused_effect`, then `twinmeter verify`.",
    ),
    "twinmeter_alarms_active": Metric(
        "gauge",
        "alarms",
        ("site", "severity"),
        "api",
        "Alarms that stand.",
        "How bad is it?",
        "`twinmeter alarms list --active`",
    ),
    "twinmeter_incidents_open": Metric(
        "gauge",
        "incidents",
        ("site", "kind"),
        "api",
        "Incidents that have neither healed nor been closed, by kind; kinds we do not know are `other`.",
        "What is wrong with devices?",
        "The table of incidents on the page of operations.",
    ),
    "twinmeter_ledger_went_back": Metric(
        "gauge",
        "incidents",
        _SITE,
        "api",
        "Tenants whose payments or locks the database lost when it was restored.",
        "Are payments missing?",
        "[PostgreSQL restored to an hour ago](database-restored.md).",
    ),
    "twinmeter_commands": Metric(
        "gauge",
        "commands",
        ("site", "state"),
        "api",
        "Commands by the state they have reached.",
        "Do commands end well?",
        "`unverified` and `failed` grow: devices, one by one.",
    ),
    "twinmeter_command_oldest_seconds": Metric(
        "gauge",
        "seconds",
        ("site", "state"),
        "api",
        "Age of the oldest command that is not verified: `moving` (created, sent, received, executed) or `queued` for a device out of reach.",
        "Does a switch hang?",
        "`moving` over 300: [welded breaker](welded-breaker.md), or the device does not answer.",
    ),
    "twinmeter_quarantined_readings": Metric(
        "gauge",
        "readings",
        _SITE,
        "api",
        "Readings that wait for a person's review.",
        "What do we not believe?",
        "[Quarantine flood](quarantine-flood.md).",
    ),
    "twinmeter_quarantined_energy_wh": Metric(
        "gauge",
        "Wh",
        _SITE,
        "api",
        "Electricity that waiting readings claim above what is charged, a meter counting once.",
        "How much is at stake?",
        "Review the largest first.",
    ),
    "twinmeter_quarantined_water_litres": Metric(
        "gauge",
        "litres",
        _SITE,
        "api",
        "Water and everything that is no electricity, likewise.",
        "How much is at stake?",
        "Review the largest first.",
    ),
    "twinmeter_rerate_marks": Metric(
        "gauge",
        "meters",
        _SITE,
        "api",
        "Meters that wait to be rated again.",
        "Are corrections under way?",
        "Grows: the scheduler; `twinmeter rerate --dry-run`.",
    ),
    "twinmeter_rerate_troubles": Metric(
        "gauge",
        "meters",
        _SITE,
        "api",
        "Meters that cannot be rated again, with the reason in SQL.",
        "Which past cannot be priced?",
        "`twinmeter rerate --dry-run` tells the reasons.",
    ),
    "twinmeter_webhooks_waiting": Metric(
        "gauge",
        "calls",
        _SITE,
        "api",
        "Webhook calls that were not had yet.",
        "Is an outside system away?",
        "Its address and the answer in the log of commands.",
    ),
    "twinmeter_notices_waiting": Metric(
        "gauge",
        "notices",
        _SITE,
        "api",
        "Notices that nobody has been told of yet.",
        "Are people told?",
        "The log of commands.",
    ),
    "twinmeter_recorder_lag_seconds": Metric(
        "gauge",
        "seconds",
        _SITE,
        "api",
        "How much newer the twins' last effect is than the recorded history; 0 where nothing is to be recorded.",
        "Has the recorder stopped?",
        "Start it within a day, before the broker drops its copies.",
    ),
    "twinmeter_http_request_seconds": Metric(
        "histogram",
        "seconds",
        ("operation", "status"),
        "api",
        "Time until the answer began, by operation and status.",
        "Is the API fast, and what does it refuse?",
        "Slow: SQL. 5xx: its log.",
    ),
    "twinmeter_live_feeds": Metric(
        "gauge", "feeds", (), "api", "Live feeds that are open.", "How many screens look on?", "Nothing."
    ),
    "twinmeter_live_feeds_let_go": Metric(
        "counter", "feeds", (), "api", "Live feeds that were read too slowly.", "Do screens keep up?", "Their network."
    ),
}


def family(name: str) -> Family:
    """An empty family of a metric of the catalogue. Raises KeyError for a name that does not stand there."""
    metric = CATALOGUE[name]
    text = metric.meaning.replace("`", "")
    if metric.kind == "counter":
        return CounterMetricFamily(name, text, labels=metric.labels)
    if metric.kind == "gauge":
        return GaugeMetricFamily(name, text, labels=metric.labels)
    return HistogramMetricFamily(name, text, labels=metric.labels)


def one(name: str, value: float) -> Family:
    """A family without labels and its value."""
    made = family(name)
    made.add_metric([], value)  # type: ignore[attr-defined]
    return made
