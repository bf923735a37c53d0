"""Runs the analyses of docs/archive.md as they stand there, and prints what each engine finds as a line of JSON.

    analyses.py DOCUMENT ARCHIVE

PySpark is left out where it isn't installed; its jars are fetched from Maven.
"""

import importlib.util
import json
import pathlib
import re
import sys

document, archive = sys.argv[1:]
text = pathlib.Path(document).read_text().split("## Analyses", 1)[1].replace("/data/archive", archive)
(statements,) = re.findall(r"```sql\n(.*?)```", text, re.S)
of_polars, of_spark = re.findall(r"```python\n(.*?)```", text, re.S)


def show(engine, errors, costs, tools):
    def plain(rows):
        return [[round(cell, 6) if isinstance(cell, float) else cell for cell in row] for row in rows]

    found = {"engine": engine, "errors": plain(errors), "costs": plain(costs), "tools": plain(tools)}
    print(json.dumps(found, default=str))


def with_duckdb():
    import duckdb
    import duckdb_ext

    db = duckdb.connect()
    # A wheel brings the extension, so that nothing is fetched.
    (extension,) = pathlib.Path(list(duckdb_ext.__path__)[0]).rglob("delta.duckdb_extension")
    db.sql(f"load '{extension}'")
    queries = [query for query in statements.split(";") if query.strip()]
    show("duckdb", *(db.sql(query).fetchall() for query in queries))


def run(source, rows):
    names = {}
    exec(source, names)
    return [rows(names[name]) for name in ("errors", "costs", "tools")]


def with_polars():
    show("polars", *run(of_polars, lambda table: table.collect().rows()))


def with_spark():
    show("pyspark", *run(of_spark, lambda table: [tuple(row) for row in table.collect()]))


with_duckdb()
with_polars()
if importlib.util.find_spec("pyspark"):
    with_spark()
else:
    print("PySpark is not installed, and was left out", file=sys.stderr)
