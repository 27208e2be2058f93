// A peer of the bridge in JavaScript, made from its wire contract alone. The broker is at NATS_URL.
//
//   peer.js keys FILE               hashes the golden keys
//   peer.js publish                 announces a valid event, and one with a forged key
//   peer.js consume DURABLE COUNT   handles so many messages of CHOCO_STRATT
//
// What it did is printed as JSON, a line each.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, headers } from "@nats-io/transport-node";
import { idempotencyKey, keyOfEvent } from "./idempotency.js";

const EVENT_TYPES = new Set([
  "unit.published",
  "unit.deprecated",
  "unit.tampered",
  "unit.fingerprint.verified",
  "unit.import.resolved",
  "chain.gate.fired",
  "chain.gate.resolved",
]);

const report = (facts) => console.log(JSON.stringify(facts));

function keys(path) {
  for (const vector of JSON.parse(readFileSync(path, "utf8"))) {
    const key = idempotencyKey(vector.eventType, vector.identityUri, vector.fingerprint);
    report({ identityUri: vector.identityUri, key, agrees: key === vector.idempotencyKey });
  }
}

async function publish(connection) {
  const js = jetstream(connection);
  for (const [slug, key] of [["from-javascript"], ["forged-by-javascript", "f".repeat(64)]]) {
    const payload = {
      since: "a later minor version",
      occurrence: 2,
      actor: "user:Zoë \u{1F9EA}\u2028",
      fingerprint: "sha256:" + "8".repeat(64),
      uri: `strat://dev/rule/${slug}@1.0.0`,
    };
    const envelope = {
      since: { "a later": ["minor", "version"] },
      meta: { writtenBy: "JSON.stringify" },
      payload,
      source: "peer:javascript:1.0.0",
      idempotencyKey: key ?? keyOfEvent("unit.published", payload),
      timestamp: new Date().toISOString(),
      domain: "dev",
      eventVersion: "1.0",
      eventType: "unit.published",
      eventId: randomUUID(),
    };
    const sent = headers();
    sent.set("Nats-Msg-Id", envelope.idempotencyKey);
    sent.set("Content-Type", "application/json");
    const stored = await js.publish("strat.dev.unit.published", JSON.stringify(envelope), { headers: sent });
    report({ published: envelope.idempotencyKey, sequence: stored.seq });
  }
}

/** What follows the prefix of a subject; throws if it is neither an event's nor one redriven for this durable. */
function address(subject, durable) {
  const prefix = ["choco.strat.", `choco.redrive.${durable}.`].find((prefix) => subject.startsWith(prefix));
  if (!prefix) throw new Error("subject is not one of an event");
  return subject.slice(prefix.length);
}

/** The event type and key of a message; throws if it is not a valid event. */
function read(message, durable) {
  const { eventType, eventVersion, domain, payload, idempotencyKey: key } = message.json();
  if (!eventVersion.startsWith("1.")) throw new Error("unsupported version");
  if (!EVENT_TYPES.has(eventType)) throw new Error("unknown event type");
  if (address(message.subject, durable) !== `${domain}.${eventType}`) throw new Error("subject disagrees");
  if (key !== keyOfEvent(eventType, payload)) throw new Error("key mismatch");
  return { eventType, key };
}

/** Stored before the message is terminated: nothing disappears. */
async function deadLetter(js, message, durable, error) {
  const { stream, streamSequence, deliveryCount } = message.info;
  const kept = headers();
  for (const [name, values] of message.headers ?? []) {
    if (!name.startsWith("Nats-")) values.forEach((value) => kept.append(name, value));
  }
  kept.set("Nats-Msg-Id", `${stream}:${streamSequence}:${durable}`);
  kept.set("Strat-Dead-Letter-Consumer", durable);
  kept.set("Strat-Dead-Letter-Reason", "invalid");
  kept.set("Strat-Dead-Letter-Error", error.message.replace(/\p{Cc}/gu, " ").slice(0, 256));
  kept.set("Strat-Dead-Letter-Deliveries", String(deliveryCount));
  kept.set("Strat-Dead-Letter-Stream", stream);
  kept.set("Strat-Dead-Letter-Sequence", String(streamSequence));
  kept.set("Strat-Dead-Letter-Subject", message.subject);
  kept.set("Strat-Dead-Letter-Time", new Date().toISOString());
  // What is not valid must not become part of a subject.
  const [, domain, eventType] = address(message.subject, durable).match(/^([^.]*)\.(.*)$/) ?? [];
  const safeDomain = /^[a-z0-9][a-z0-9-]{0,62}$/.test(domain) ? domain : "_";
  const safeType = EVENT_TYPES.has(eventType) ? eventType : "_";
  await js.publish(`stratt.dlq.${durable}.${safeDomain}.${safeType}`, message.data, { headers: kept });
}

async function consume(connection, durable, count) {
  const js = jetstream(connection);
  const manager = await jetstreamManager(connection);
  await manager.consumers.add("CHOCO_STRATT", {
    durable_name: durable,
    ack_policy: AckPolicy.Explicit,
    filter_subjects: ["choco.strat.>", `choco.redrive.${durable}.>`],
  });
  const consumer = await js.consumers.get("CHOCO_STRATT", durable);
  const handled = new Set(); // A service keeps this where it keeps its effects.
  for await (const message of await consumer.fetch({ max_messages: Number(count), expires: 30_000 })) {
    let event;
    try {
      event = read(message, durable);
    } catch (error) {
      await deadLetter(js, message, durable, error);
      message.term();
      report({ outcome: "invalid", error: error.message });
      continue;
    }
    const outcome = handled.has(event.key) ? "repeated" : "handled";
    handled.add(event.key);
    await message.ackAck();
    report({ outcome, ...event });
  }
}

const [command, ...rest] = process.argv.slice(2);
if (command === "keys") {
  keys(...rest);
} else {
  const connection = await connect({ servers: process.env.NATS_URL });
  await { publish, consume }[command](connection, ...rest);
  await connection.drain();
}
