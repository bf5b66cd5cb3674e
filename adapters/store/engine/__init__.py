"""The SQL engines: connections, bulk statements, migrations, partitions, backups."""
