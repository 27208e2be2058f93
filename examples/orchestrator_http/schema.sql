-- Plain enough for PostgreSQL and SQLite alike. The outbox makes its tables itself.

CREATE TABLE IF NOT EXISTS units (
    uri TEXT NOT NULL PRIMARY KEY,
    -- Canonical JSON: the bytes that were fingerprinted.
    content TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    successor TEXT,
    -- The fingerprint that the last verification found.
    found TEXT
);

CREATE TABLE IF NOT EXISTS gates (
    chain TEXT NOT NULL,
    gate TEXT NOT NULL,
    run TEXT NOT NULL,
    outcome TEXT,
    PRIMARY KEY (chain, gate, run)
);

-- How often each fact was announced, by the idempotency key of its first time.
CREATE TABLE IF NOT EXISTS facts (
    first_key TEXT NOT NULL PRIMARY KEY,
    times BIGINT NOT NULL
);
