"""The composition root: the one place that picks adapters and wires them to the flows.

`stores` opens what is kept, `flows` wires what is done with it, `platform` gives both their sessions and their life;
`embedded` starts servers on a laptop, `parts` opens one thing alone. What the entry points take, names of the adapters
included, they take from here: nobody else may import adapters.
"""

from adapters.embedded.ports import is_free, who_listens
from adapters.embedded.processes import EmbeddedServerError
from adapters.journeys.follow import MissingPackagesError
from adapters.mqtt.errors import MqttError
from adapters.mqtt.probe import probe_session
from adapters.store.engine.backups import BackupError, create_backup, restore_backup, verify_backup
from adapters.store.engine.database import DatabaseURLError, open_database
from adapters.store.engine.migration_state import migration_state
from adapters.store.engine.partitions import PartitionError, partition_counts, partition_tables
from adapters.store.sites.site_file import SiteError
from api.bootstrap.embedded import Embedded, start_embedded
from api.bootstrap.parts import open_font, open_leases, open_recorded, recorded_lag
from api.bootstrap.platform import Platform, open_platform

__all__ = [
    "BackupError",
    "DatabaseURLError",
    "Embedded",
    "EmbeddedServerError",
    "MissingPackagesError",
    "MqttError",
    "PartitionError",
    "Platform",
    "SiteError",
    "create_backup",
    "is_free",
    "migration_state",
    "open_database",
    "open_font",
    "open_leases",
    "open_platform",
    "open_recorded",
    "partition_counts",
    "partition_tables",
    "probe_session",
    "recorded_lag",
    "restore_backup",
    "start_embedded",
    "verify_backup",
    "who_listens",
]
