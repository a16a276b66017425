-- What happened to VMs, in this order. A number is never used twice.
CREATE TABLE events (
  seq     INTEGER PRIMARY KEY AUTOINCREMENT,
  at      INTEGER NOT NULL,
  vm      TEXT NOT NULL,
  account TEXT NOT NULL,
  verb    TEXT NOT NULL,
  state   TEXT NOT NULL,
  failed  INTEGER NOT NULL CHECK (failed IN (0, 1)),
  reason  TEXT NOT NULL,
  took    INTEGER NOT NULL
) STRICT;

CREATE INDEX events_vm ON events (vm, seq);
CREATE INDEX events_account ON events (account, seq);
