import hashlib


def idempotency_key(event_type, identity_uri, fingerprint):
    return hashlib.sha256(f"{event_type}\n{identity_uri}\n{fingerprint}".encode()).hexdigest()


def key_of_event(event_type, payload):
    if event_type.startswith("chain.gate."):
        identity_uri = f"{payload['chainUri']}#gate={payload['gate']}&run={payload['runId']}"
    elif event_type == "unit.import.resolved":
        identity_uri = f"{payload['importer']}#import={payload['imported']}"
    else:
        identity_uri = payload["uri"]
        if payload.get("occurrence") is not None:
            identity_uri += f"#occurrence={payload['occurrence']}"
    of = "actualFingerprint" if event_type == "unit.tampered" else "fingerprint"
    return idempotency_key(event_type, identity_uri, payload[of])
