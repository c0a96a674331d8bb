"""The quickstart, told step by step: make a shop, move its orders, sum them up, add some, move only those."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from iceframe import IceFrame

HERE = Path(__file__).parent
DATA = HERE / "data"
ORDERS = 300_000
MORE = 1_234


def main() -> None:
    """Run the demo from a clean folder."""
    forget_earlier_demo()
    say(f"1. A SQLite database with {ORDERS:,} orders")
    add_orders(ORDERS)
    say("2. The first run moves them all")
    conduit("run")
    say(f"3. {MORE:,} more orders arrive")
    add_orders(MORE)
    say("4. What the next run would do")
    conduit("plan")
    say("5. The next run moves only the new ones")
    conduit("run")
    say("6. Nothing is new")
    conduit("run")
    say("7. What the tables hold")
    lake = IceFrame(
        {"type": "sql", "uri": f"sqlite:///{DATA / 'catalog.db'}", "warehouse": (DATA / "warehouse").as_uri()}
    )
    orders = lake.read_table("shop.orders", columns=["id", "amount"])
    days = lake.read_table("shop.daily_summary").sort("day")
    print(days.head(3))
    say(f"shop.orders has {orders.height:,} rows, {orders['id'].n_unique():,} of them different")
    if sorted(orders["id"]) != list(range(1, ORDERS + MORE + 1)):
        sys.exit("this is not what the source has")
    if (days["orders"].sum(), days["turnover"].sum()) != (orders.height, orders["amount"].sum()):
        sys.exit("the summary is not the sum of the orders")
    say(f"shop.daily_summary has {days.height} days, and its sums are those of the orders")


def forget_earlier_demo() -> None:
    """Start from nothing."""
    for folder in (DATA, HERE / ".conduit"):
        shutil.rmtree(folder, ignore_errors=True)
    (HERE / ".conduit_state.json").unlink(missing_ok=True)
    DATA.mkdir()


def add_orders(count: int) -> None:
    """Insert orders with rising ids."""
    chance = random.Random(count)
    with closing(sqlite3.connect(DATA / "shop.sqlite")) as shop, shop:
        shop.execute(
            "CREATE TABLE IF NOT EXISTS orders "
            "(id INTEGER PRIMARY KEY, customer TEXT NOT NULL, amount DECIMAL(10,2), placed_at TIMESTAMP)"
        )
        shop.executemany(
            "INSERT INTO orders (customer, amount, placed_at) VALUES (?, ?, datetime('2026-01-01', ? || ' seconds'))",
            ((f"customer {chance.randrange(5000)}", chance.randrange(1, 99999) / 100, n * 7) for n in range(count)),
        )


def conduit(verb: str) -> None:
    """Run the command as a user would."""
    print(f"$ conduit {verb} examples/quickstart/ingest.yml", flush=True)
    subprocess.run([sys.executable, "-m", "conduit", verb, str(HERE / "ingest.yml")], check=True)


def say(text: str) -> None:
    """Print a heading."""
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    main()
