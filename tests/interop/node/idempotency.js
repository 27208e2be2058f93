import { createHash } from "node:crypto";

export function idempotencyKey(eventType, identityUri, fingerprint) {
  return createHash("sha256").update(`${eventType}\n${identityUri}\n${fingerprint}`).digest("hex");
}

export function keyOfEvent(eventType, payload) {
  let identityUri;
  if (eventType.startsWith("chain.gate.")) {
    identityUri = `${payload.chainUri}#gate=${payload.gate}&run=${payload.runId}`;
  } else if (eventType === "unit.import.resolved") {
    identityUri = `${payload.importer}#import=${payload.imported}`;
  } else {
    identityUri = payload.uri;
    if (payload.occurrence != null) identityUri += `#occurrence=${payload.occurrence}`;
  }
  const of = eventType === "unit.tampered" ? "actualFingerprint" : "fingerprint";
  return idempotencyKey(eventType, identityUri, payload[of]);
}
