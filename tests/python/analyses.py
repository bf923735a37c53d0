"""Runs the analyses of docs/archive.md as they stand there, and prints what each engine finds as a line of JSON.

    analyses.py DOCUMENT ARCHIVE

PySpark is the one that `make test` has set up in `.tools/spark`. Where it could not, or
without a Java that it runs on, it is left out.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

document, archive = sys.argv[1:]
root = pathlib.Path(__file__).resolve().parents[2]
of_tests = root / ".tools/spark"
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


def small(scratch):
    """Spark's settings beside those of the document: little memory, no network, all that it writes in a folder."""
    settings = {
        "spark.master": "local[1]",
        "spark.driver.memory": "768m",
        "spark.driver.extraJavaOptions": f"-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.io.tmpdir={scratch}",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": scratch,
        "spark.sql.warehouse.dir": f"{scratch}/warehouse",
        "spark.sql.shuffle.partitions": "1",
        "spark.databricks.delta.snapshotPartitions": "1",
        # The packages that the document names are there already.
        "spark.jars.ivy": f"{scratch}/ivy",
        "spark.jars.ivySettings": of_tests / "ivysettings.xml",
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def with_spark():
    sys.path.insert(0, str(of_tests / "python"))
    with tempfile.TemporaryDirectory() as scratch:
        (pathlib.Path(scratch) / "spark-defaults.conf").write_text(small(scratch))
        home = str(of_tests / "python/pyspark")
        os.environ |= {"SPARK_HOME": home, "SPARK_CONF_DIR": scratch, "SPARK_LOCAL_IP": "127.0.0.1"}
        show("pyspark", *run(of_spark, lambda table: [tuple(row) for row in table.collect()]))
        from pyspark import SparkContext

        # Its Java process ends with its input, and must not outlive the folder.
        java = SparkContext._gateway.proc
        java.stdin.close()
        java.wait()


with_duckdb()
with_polars()
if of_tests.is_dir() and subprocess.run([root / "scripts/need", "java-of-spark"]).returncode == 0:
    with_spark()
else:
    print("PySpark, or a Java for it, is not there, and was left out", file=sys.stderr)
