"""A peer of the bridge in Python, made from its wire contract alone. The broker is at NATS_URL.

    peer.py keys FILE               hashes the golden keys
    peer.py publish                 announces a valid event, and one with a forged key
    peer.py consume DURABLE COUNT   handles so many messages of CHOCO_STRATT

What it did is printed as JSON, a line each.
"""

import asyncio
import json
import os
import re
import sys
import uuid
from datetime import datetime, timezone

import nats
from nats.js.api import AckPolicy, ConsumerConfig
from idempotency import idempotency_key, key_of_event

EVENT_TYPES = {
    "unit.published",
    "unit.deprecated",
    "unit.tampered",
    "unit.fingerprint.verified",
    "unit.import.resolved",
    "chain.gate.fired",
    "chain.gate.resolved",
}


def report(**facts):
    print(json.dumps(facts), flush=True)


def keys(path):
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)
    for vector in vectors:
        key = idempotency_key(vector["eventType"], vector["identityUri"], vector["fingerprint"])
        report(identityUri=vector["identityUri"], key=key, agrees=key == vector["idempotencyKey"])


async def publish(js):
    for slug, key in [("from-python", None), ("forged-by-python", "0" * 64)]:
        payload = {
            "uri": f"strat://dev/rule/{slug}@1.0.0",
            "fingerprint": "sha256:" + "7" * 64,
            "actor": "user:Zoë 🐍",
            "previousStatus": None,
            "since": "a later minor version",
        }
        envelope = {
            "eventId": str(uuid.uuid4()),
            "eventType": "unit.published",
            "eventVersion": "1.1",
            "domain": "dev",
            "timestamp": datetime.now(timezone.utc).isoformat(),
            "idempotencyKey": key or key_of_event("unit.published", payload),
            "source": "peer:python:1.0.0",
            "payload": payload,
            "meta": {"writtenBy": "json.dumps"},
            "since": {"a later": ["minor", "version"]},
        }
        headers = {"Nats-Msg-Id": envelope["idempotencyKey"], "Content-Type": "application/json"}
        body = json.dumps(envelope, sort_keys=True).encode()
        stored = await js.publish("strat.dev.unit.published", body, headers=headers)
        report(published=envelope["idempotencyKey"], sequence=stored.seq)


def address(subject, durable):
    """What follows the prefix of a subject; raises if it is neither an event's nor one redriven for this durable."""
    for prefix in ("choco.strat.", f"choco.redrive.{durable}."):
        if subject.startswith(prefix):
            return subject.removeprefix(prefix)
    raise ValueError("subject is not one of an event")


def read(message, durable):
    """The event type and key of a message; raises if it is not a valid event."""
    envelope = json.loads(message.data)
    event_type, domain, payload = envelope["eventType"], envelope["domain"], envelope["payload"]
    if not envelope["eventVersion"].startswith("1."):
        raise ValueError("unsupported version")
    if event_type not in EVENT_TYPES:
        raise ValueError("unknown event type")
    if address(message.subject, durable) != f"{domain}.{event_type}":
        raise ValueError("subject disagrees")
    if envelope["idempotencyKey"] != key_of_event(event_type, payload):
        raise ValueError("key mismatch")
    return event_type, envelope["idempotencyKey"]


async def dead_letter(js, message, durable, error):
    """Stored before the message is terminated: nothing disappears."""
    at = message.metadata
    headers = {k: v for k, v in (message.headers or {}).items() if not k.startswith("Nats-")}
    headers |= {
        "Nats-Msg-Id": f"{at.stream}:{at.sequence.stream}:{durable}",
        "Strat-Dead-Letter-Consumer": durable,
        "Strat-Dead-Letter-Reason": "invalid",
        "Strat-Dead-Letter-Error": str(error).encode("unicode_escape").decode()[:1024],
        "Strat-Dead-Letter-Deliveries": str(at.num_delivered),
        "Strat-Dead-Letter-Stream": at.stream,
        "Strat-Dead-Letter-Sequence": str(at.sequence.stream),
        "Strat-Dead-Letter-Subject": message.subject,
        "Strat-Dead-Letter-Time": datetime.now(timezone.utc).isoformat(),
    }
    # What is not valid must not become part of a subject.
    domain, _, event_type = address(message.subject, durable).partition(".")
    domain = domain if re.fullmatch("[a-z0-9][a-z0-9-]{0,62}", domain) else "_"
    event_type = event_type if event_type in EVENT_TYPES else "_"
    await js.publish(f"stratt.dlq.{durable}.{domain}.{event_type}", message.data, headers=headers)


async def consume(js, durable, count):
    handled = set()  # A service keeps this where it keeps its effects.
    filters = ["choco.strat.>", f"choco.redrive.{durable}.>"]
    config = ConsumerConfig(durable_name=durable, ack_policy=AckPolicy.EXPLICIT, filter_subjects=filters)
    await js.add_consumer("CHOCO_STRATT", config)
    subscription = await js.pull_subscribe_bind(durable, stream="CHOCO_STRATT")
    for _ in range(int(count)):
        [message] = await subscription.fetch(1, timeout=30)
        try:
            event_type, key = read(message, durable)
        except Exception as error:  # Whatever it is, the message is to blame.
            await dead_letter(js, message, durable, error)
            await message.term()
            report(outcome="invalid", error=str(error))
            continue
        outcome = "repeated" if key in handled else "handled"
        handled.add(key)
        await message.ack_sync(timeout=10)
        report(outcome=outcome, eventType=event_type, key=key)


async def main(command, *arguments):
    connection = await nats.connect(os.environ["NATS_URL"])
    await {"publish": publish, "consume": consume}[command](connection.jetstream(), *arguments)
    await connection.drain()


if sys.argv[1] == "keys":
    keys(*sys.argv[2:])
else:
    asyncio.run(main(*sys.argv[1:]))
