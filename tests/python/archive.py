"""Reads an archive's table with three engines that have nothing to do with each other or with the writer, and prints
what each sees as a line of JSON: counts, sums, and one run's lines.

    archive.py FOLDER WORKSPACE RUN
"""

import json
import pathlib
import sys

import deltalake
import duckdb
import duckdb_ext
import polars

folder, workspace, run = sys.argv[1:]


def show(engine, rows, offsets, levels, runs, lines):
    seen = {"rows": rows, "offsets": offsets, "levels": levels, "runs": runs, "lines": lines}
    print(json.dumps({"engine": engine, **seen}))


def with_duckdb():
    db = duckdb.connect()
    # A wheel brings the extension, so that nothing is fetched.
    (extension,) = pathlib.Path(list(duckdb_ext.__path__)[0]).rglob("delta.duckdb_extension")
    db.sql(f"load '{extension}'")
    table = f"delta_scan('{folder}')"
    rows, offsets, runs = db.sql(f'select count(*), sum("offset"), count(distinct run_id) from {table}').fetchone()
    levels = dict(db.sql(f"select level, count(*) from {table} group by level").fetchall())
    query = f'select message from {table} where workspace_id = ? and run_id = ? order by topic, partition, "offset"'
    lines = [line for (line,) in db.execute(query, [workspace, run]).fetchall()]
    show("duckdb", rows, int(offsets), levels, runs, lines)


def with_polars():
    table = polars.scan_delta(folder)
    sums = table.select(
        polars.len().alias("rows"), polars.col("offset").sum(), polars.col("run_id").n_unique().alias("runs")
    )
    rows, offsets, runs = sums.collect().row(0)
    levels = dict(table.group_by("level").len().collect().iter_rows())
    chosen = table.filter((polars.col("workspace_id") == workspace) & (polars.col("run_id") == run))
    lines = chosen.sort("topic", "partition", "offset").select("message").collect()["message"].to_list()
    show("polars", rows, offsets, levels, runs, lines)


def with_deltalake():
    table = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(folder))

    def ask(query):
        return polars.DataFrame(table.execute(query))

    sums = ask('select count(*) as c, sum("offset") as o, count(distinct run_id) as r from t')
    rows, offsets, runs = sums.row(0)
    levels = dict(ask("select level, count(*) from t group by level").iter_rows())
    where = f"workspace_id = '{workspace}' and run_id = '{run}'"
    lines = ask(f'select message from t where {where} order by topic, "partition", "offset"')
    show("deltalake", rows, offsets, levels, runs, lines["message"].to_list())


with_duckdb()
with_polars()
with_deltalake()
