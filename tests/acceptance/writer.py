"""A client that never stops writing: pgbench's transaction, one row more that has a number, and a log of what was acknowledged.

    writer.py DSN CLIENT LOG

A line of the log is `number time`, written only after COMMIT has returned. An error is what a client of a real
application does with it: connect again to whichever host accepts writes. A number whose COMMIT did not return may
or may not be in the table; it is not written again, and not in the log.
"""
import random
import select
import signal
import sys
import time

import psycopg2
import psycopg2.extensions

SCALE = 10
# The kernel of a frozen container still acknowledges what it receives, so that only the client notices that nobody answers.
ANSWER_SECONDS = 6


def wait(connection):
    """What a client's socket timeout is elsewhere: psycopg2 waits for an answer through this."""
    while True:
        state = connection.poll()
        if state == psycopg2.extensions.POLL_OK:
            return
        sides = ([connection], [], []) if state == psycopg2.extensions.POLL_READ else ([], [connection], [])
        if not any(select.select(*sides, ANSWER_SECONDS)):
            raise psycopg2.OperationalError("no answer in %d s" % ANSWER_SECONDS)


def main(dsn, client, log_name):
    stop = []
    signal.signal(signal.SIGTERM, lambda *dummy: stop.append(True))
    number = 0
    connection = None
    with open(log_name, "w", buffering=1) as log:
        while not stop:
            number += 1
            try:
                if connection is None:
                    # libpq has its own time limit for this, and turns to the next host after it.
                    psycopg2.extensions.set_wait_callback(None)
                    connection = psycopg2.connect(dsn)
                    psycopg2.extensions.set_wait_callback(wait)
                    connection.cursor().execute("set statement_timeout = '5s'")
                    connection.commit()
                account, teller, branch = random.randint(1, 100000 * SCALE), random.randint(1, 10 * SCALE), random.randint(1, SCALE)
                delta = random.randint(-5000, 5000)
                cursor = connection.cursor()
                cursor.execute("update pgbench_accounts set abalance = abalance + %s where aid = %s", (delta, account))
                cursor.execute("select abalance from pgbench_accounts where aid = %s", (account,))
                cursor.execute("update pgbench_tellers set tbalance = tbalance + %s where tid = %s", (delta, teller))
                cursor.execute("update pgbench_branches set bbalance = bbalance + %s where bid = %s", (delta, branch))
                cursor.execute("insert into pgbench_history (tid, bid, aid, delta, mtime) values (%s, %s, %s, %s, now())",
                               (teller, branch, account, delta))
                cursor.execute("insert into ledger (client, number) values (%s, %s)", (client, number))
                connection.commit()
            except psycopg2.Error:
                try:
                    if connection is not None:
                        connection.close()
                except psycopg2.Error:
                    pass
                connection = None
                time.sleep(0.05)
            else:
                log.write("%d %.6f\n" % (number, time.time()))
                # Two of these make about 150 rows a second and leave the machine to the cluster.
                time.sleep(0.01)


if __name__ == "__main__":
    main(*sys.argv[1:])
