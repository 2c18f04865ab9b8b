"""A client that writes to one node only, and logs each commit.

    pinned.py DSN NODE LOG

A line of the log is the time of a commit that returned. Two of these with lines of the same second are two primaries.
"""
import signal
import sys
import time

import psycopg2


def main(dsn, node, log_name):
    stop = []
    signal.signal(signal.SIGTERM, lambda *dummy: stop.append(True))
    connection = None
    with open(log_name, "w", buffering=1) as log:
        while not stop:
            try:
                if connection is None:
                    connection = psycopg2.connect(dsn)
                connection.cursor().execute("insert into pinned (node, at) values (%s, now())", (node,))
                connection.commit()
                log.write("%.6f\n" % time.time())
            except psycopg2.Error:
                try:
                    if connection is not None:
                        connection.close()
                except psycopg2.Error:
                    pass
                connection = None
            time.sleep(0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
