"""PostgreSQL: tables, the engine, migrations, queries, and the listener that cuts latency."""
