"""The servers the integration tests stand on."""

from tests.integration.servers import PostgresServer


def test_postgres_has_a_database_for_each_test_and_waits_for_no_disk(postgres_server):
    first, second = postgres_server.fresh_database(), postgres_server.fresh_database()
    assert first != second
    assert postgres_server.sql("SHOW fsync") == "off"
    assert postgres_server.sql("SELECT 1", first.rpartition("/")[2]) == "1"


def test_postgres_keeps_what_was_committed_over_a_kill():
    with PostgresServer() as server:
        assert server.sql("SHOW fsync") == "on"
        server.sql("CREATE TABLE t (n int); INSERT INTO t VALUES (7)")
        port = server.port
        server.kill9()
        server.start(port)
        assert server.port == port
        assert server.sql("SELECT n FROM t") == "7"
