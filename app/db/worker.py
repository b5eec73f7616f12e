"""Which workers there are, and whose turn it was last."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Float, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, UtcDateTime, database_time


class DeviceKind(StrEnum):
    """What a worker trains on."""

    CPU = "cpu"
    CUDA = "cuda"


class Worker(Base):
    """A worker process that is there, or was until lately.

    It writes its own row while it runs and deletes it when it ends; one that is killed leaves it.
    What a worker does stands in the row of its task, under its name.
    """

    __tablename__ = "workers"
    # An id that was deleted is given to no other: a worker that comes back knows its row by it.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))  # `host:pid-mark`, as in the rows of its tasks
    host: Mapped[str] = mapped_column(String(200))
    pid: Mapped[int]
    version: Mapped[str] = mapped_column(String(100))  # of this software
    device: Mapped[DeviceKind] = mapped_column(String(10))
    device_name: Mapped[str] = mapped_column(String(200))
    devices: Mapped[int] = mapped_column(Integer)
    memory_mib: Mapped[int] = mapped_column(BigInteger)  # of one device; of a CPU, the machine's
    # All three by the database's clock.
    started_at: Mapped[datetime] = mapped_column(UtcDateTime, default=database_time())
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime, default=database_time())
    alive_until: Mapped[float] = mapped_column(Float)  # unless it says again that it is there


class Turn(Base):
    """When workers of one pool last took a task of somebody's: the order of claims stands on it.

    Workers with the same device and about the same memory are one pool (`app.workers.needs`).
    """

    __tablename__ = "turns"

    # The key that posted the task; 0: nobody's.
    owner: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    pool: Mapped[str] = mapped_column(String(40), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)  # a later turn has a higher one
