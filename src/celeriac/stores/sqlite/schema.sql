-- Tables of one namespace, schema version 4. "@" stands for the quoted namespace (schema.py).
-- Part of the SQLite store. Times: epoch seconds, except owner.deadline, lock_place.until,
-- bucket.stamp, chord.touched and pass.mono, which are CLOCK_MONOTONIC of the boot named beside them.

-- Task and queue names as numbers. Never deleted: every process may keep what it has read.
CREATE TABLE @name (number INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);

-- Records and places in queues share one row of numbers, none used twice. The last one given is
-- the greater of this one and the greatest seq: to insert a record must not cost a page more. So
-- the counter is raised when a place is given that is no seq, and before a record is deleted.
CREATE TABLE @counter (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER NOT NULL);
INSERT INTO @counter VALUES (1, 0);

-- One row a call. What every exchange writes comes first, what few records have comes last.
CREATE TABLE @record (
    seq INTEGER PRIMARY KEY,
    state INTEGER NOT NULL,          -- codes.py
    owner INTEGER,                   -- owner.number while held, else NULL
    nonce TEXT,                      -- of the lease, while held
    attempt INTEGER NOT NULL DEFAULT 0,
    done_nonce TEXT,                 -- the last fence that was applied: a resend reads ALREADY
    done_attempt INTEGER,
    special INTEGER NOT NULL,        -- bits, codes.py
    id TEXT NOT NULL UNIQUE,
    task INTEGER NOT NULL,
    queue INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    place INTEGER NOT NULL,          -- order within the queue and priority
    send_nonce TEXT NOT NULL,
    enqueued_at REAL NOT NULL,
    stamp INTEGER NOT NULL DEFAULT 0,
    leased_at REAL,
    started_at REAL,
    ended_at REAL,
    drop_at REAL,
    reason TEXT,
    due REAL,
    expires REAL,
    retries INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0,
    generation INTEGER NOT NULL DEFAULT 0,
    revoked INTEGER NOT NULL DEFAULT 0,
    terminate TEXT,
    cause TEXT,
    worker INTEGER,                  -- whose lease was the last one, as a name's number
    wire BLOB                        -- the message as sent, unless it is long: then in @message
);
CREATE INDEX @record_queued ON @record (queue, priority DESC, place) WHERE state = 2;
CREATE INDEX @record_scheduled ON @record (due) WHERE state = 1;
CREATE INDEX @record_parked ON @record (queue, task, place) WHERE state = 5;
CREATE INDEX @record_held ON @record (owner) WHERE owner IS NOT NULL;
CREATE INDEX @record_expires ON @record (expires) WHERE expires IS NOT NULL AND state < 6;
CREATE INDEX @record_drop ON @record (drop_at) WHERE drop_at IS NOT NULL;
CREATE INDEX @record_aside ON @record (state, ended_at) WHERE state IN (7, 12);

-- A long message as sent, the result, its edges (which outlive it), and progress of the last run.
CREATE TABLE @message (seq INTEGER PRIMARY KEY, wire BLOB NOT NULL);
CREATE TABLE @result (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE @edges (seq INTEGER PRIMARY KEY, edges BLOB NOT NULL);
CREATE TABLE @progress (seq INTEGER PRIMARY KEY, state TEXT NOT NULL, meta BLOB);
-- Results of records that live in another store.
CREATE TABLE @mirror (id TEXT PRIMARY KEY, result BLOB NOT NULL, drop_at REAL) WITHOUT ROWID;
CREATE INDEX @mirror_drop ON @mirror (drop_at) WHERE drop_at IS NOT NULL;

-- Who refers to a result: while the referrer has not ended, the result is kept.
CREATE TABLE @refers (target TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (target, seq))
    WITHOUT ROWID;
CREATE INDEX @refers_seq ON @refers (seq);
-- Which workflow a record is a part of.
CREATE TABLE @flow (seq INTEGER PRIMARY KEY, flow TEXT NOT NULL);
CREATE INDEX @flow_parts ON @flow (flow, seq);

-- Joins, the ends of their members, and below ended records whose edges are not yet followed to
-- the end.
CREATE TABLE @chord (
    id TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    size INTEGER,
    count INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    sent INTEGER NOT NULL DEFAULT 0, -- members enqueued
    decided TEXT NOT NULL DEFAULT '',
    cause TEXT NOT NULL DEFAULT '',
    touched REAL NOT NULL,           -- by the lease clock
    boot TEXT NOT NULL,
    grown INTEGER NOT NULL DEFAULT 0 -- members added to those that size counts
) WITHOUT ROWID;
CREATE INDEX @chord_open ON @chord (touched)
    WHERE size IS NULL AND (decided = '' OR cause <> '');
CREATE INDEX @chord_body ON @chord (body);
-- done: 0 failed, 1 succeeded, 2 added and not ended yet.
CREATE TABLE @member (chord TEXT NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL,
    done INTEGER NOT NULL, PRIMARY KEY (chord, position)) WITHOUT ROWID;
-- What was sent with a join that is not sealed yet and waits for what was not sent with it.
CREATE TABLE @outsider (number INTEGER PRIMARY KEY, chord TEXT NOT NULL, id TEXT NOT NULL);
CREATE INDEX @outsider_chord ON @outsider (chord, number);
-- how: effects.How; an id may be that of a record or of a join that was given up.
CREATE TABLE @pending (id TEXT NOT NULL, how INTEGER NOT NULL, state TEXT NOT NULL,
    cause TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (id, how)) WITHOUT ROWID;

-- Workers. A number is never reused, or an old lease could pass for a new one.
CREATE TABLE @owner (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    manifest BLOB NOT NULL,
    boot TEXT NOT NULL,
    deadline REAL NOT NULL,
    registered_at REAL NOT NULL,
    beat_at REAL NOT NULL,
    last_queue TEXT NOT NULL DEFAULT ''  -- the next lease begins behind it
);
-- The last exchange of each lane, to be repeated if its reply was lost: for which commits (digest),
-- a letter for each verdict, which records it leased (as 64-bit numbers), whether work was left.
CREATE TABLE @lane (owner INTEGER NOT NULL, lane INTEGER NOT NULL, seq INTEGER NOT NULL,
    digest INTEGER NOT NULL, verdicts TEXT NOT NULL, leased BLOB NOT NULL,
    more INTEGER NOT NULL,
    PRIMARY KEY (owner, lane)) WITHOUT ROWID;
-- The last pass of a reaper.
CREATE TABLE @pass (one INTEGER PRIMARY KEY CHECK (one = 1), boot TEXT NOT NULL,
    mono REAL NOT NULL);

-- Revokes of ids not seen yet.
CREATE TABLE @tombstone (id TEXT PRIMARY KEY, terminate TEXT, drop_at REAL NOT NULL)
    WITHOUT ROWID;
CREATE INDEX @tombstone_drop ON @tombstone (drop_at);
-- Stamps that calls were revoked by, as NAME=VALUE; each revoke gives a stamp a new number.
CREATE TABLE @revoked_stamp (number INTEGER PRIMARY KEY AUTOINCREMENT, stamp TEXT NOT NULL UNIQUE,
    terminate TEXT, drop_at REAL NOT NULL);
CREATE INDEX @revoked_stamp_drop ON @revoked_stamp (drop_at);

-- Ids of results to be copied to another store.
CREATE TABLE @outbox (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE);

CREATE TABLE @lock_place (key TEXT NOT NULL, holder TEXT NOT NULL, boot TEXT NOT NULL,
    until REAL NOT NULL, PRIMARY KEY (key, holder)) WITHOUT ROWID;
CREATE TABLE @bucket (key TEXT PRIMARY KEY, boot TEXT NOT NULL, stamp REAL NOT NULL,
    tokens REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE @entry (name TEXT PRIMARY KEY, definition BLOB NOT NULL, last_tick REAL,
    enabled INTEGER NOT NULL) WITHOUT ROWID;
