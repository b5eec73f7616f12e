"""What one process may ask of the database."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatabaseLimits:
    """How many connections a process holds, and how long it waits for the database at most.

    SQLite knows the first two alone: the others are Postgres'.

    Attributes:
        connections: open at once. The API answers on 40 threads, each with one at most.
        connect_seconds: until the server, or the process's own pool, gives a connection.
        lock_seconds: until a statement gets a lock.
        statement_seconds: until a statement ends.
        idle_seconds: between two statements of a transaction; then the server ends it, so that a
            process that hangs holds no lock for ever.
    """

    connections: int = 40
    connect_seconds: int = 5
    lock_seconds: float = 5.0
    statement_seconds: float = 30.0
    idle_seconds: float = 60.0
