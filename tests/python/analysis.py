"""Asks DuckDB the same of an archive's table and of the NDJSON that has the same entries, in turns, and prints how many
seconds each takes, as one line of JSON. The answers must be the same.

    analysis.py TABLE NDJSON
"""

import json
import pathlib
import statistics
import sys
import time

import duckdb
import duckdb_ext

table, ndjson = sys.argv[1:]
db = duckdb.connect()
(extension,) = pathlib.Path(list(duckdb_ext.__path__)[0]).rglob("delta.duckdb_extension")
db.sql(f"load '{extension}'")
# Whoever knows the columns is faster than one who has them guessed.
columns = "{timestamp: 'VARCHAR', component: 'VARCHAR', level: 'VARCHAR'}"
sources = {
    "table": ("date", f"delta_scan('{table}')"),
    "ndjson": (
        "timestamp[:10]::date",
        f"read_json('{ndjson}/*.ndjson.zst', format = 'newline_delimited', columns = {columns})",
    ),
}


def ask(date, source):
    began = time.monotonic()
    answer = db.sql(
        f"""select {date} as date, component, count(*), count(*) filter (level in ('error', 'fatal'))
        from {source} group by all order by all"""
    ).fetchall()
    return time.monotonic() - began, answer


times = {name: [] for name in sources}
for _ in range(3):
    answers = []
    for name, (date, source) in sources.items():
        took, answer = ask(date, source)
        times[name].append(took)
        answers.append(answer)
    assert answers[0] == answers[1], answers
print(json.dumps({name: statistics.median(took) for name, took in times.items()}))
