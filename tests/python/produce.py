"""A foreign producer, as a stranger would write one: confluent-kafka, in JSON with its default partitioner or in Avro with Java's.

    produce.py --brokers HOST:PORT --form json|avro --card C --run R --workspace W --count N [--topic-prefix P]
"""

import argparse
import io
import json
import pathlib
import time

import fastavro
from confluent_kafka import Producer

SCHEMA = pathlib.Path(__file__).parents[2] / "schemas" / "avro" / "LogEntry.avsc"


def entry(args, number):
    return {
        "workspaceId": args.workspace,
        "cardId": args.card,
        "runId": args.run,
        "message": f"line {number} from Python, über {args.form}",
    }


def as_json(args):
    return lambda number: json.dumps(entry(args, number) | {"data": {"number": number}}).encode()


def as_avro(args):
    """Avro single-object encoding: C3 01, the schema's CRC-64-AVRO fingerprint in little-endian order, the datum."""
    schema = fastavro.parse_schema(json.loads(SCHEMA.read_text()))
    canonical = fastavro.schema.to_parsing_canonical_form(schema)
    # fastavro gives the fingerprint's bytes in hex, least significant first: the order that goes on the wire.
    header = b"\xc3\x01" + bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))

    def encode(number):
        record = entry(args, number) | {
            "id": f"python-{number}",
            "timestamp": int(time.time() * 1000),
            "sequence": number,
            "level": "info",
            "source": "agent",
            "component": "python",
            "data": json.dumps({"number": number}),
        }
        out = io.BytesIO(header)
        out.seek(0, io.SEEK_END)
        fastavro.schemaless_writer(out, schema, record)
        return out.getvalue()

    return encode


def main():
    parser = argparse.ArgumentParser()
    for name in ("brokers", "card", "run", "workspace"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--form", choices=("json", "avro"), required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--topic-prefix", default="")
    args = parser.parse_args()

    settings = {"bootstrap.servers": args.brokers, "enable.idempotence": True}
    if args.form == "avro":
        settings["partitioner"] = "murmur2_random"
    producer = Producer(settings)
    encode = as_avro(args) if args.form == "avro" else as_json(args)
    failed = []
    for number in range(args.count):
        producer.produce(
            f"{args.topic_prefix}agent-logs",
            key=args.card,
            value=encode(number),
            on_delivery=lambda error, _: error and failed.append(error),
        )
        producer.poll(0)
    left = producer.flush(60)
    if failed or left:
        raise SystemExit(f"{len(failed)} failed, {left} not delivered: {failed[:3]}")


if __name__ == "__main__":
    main()
