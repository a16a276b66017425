-- Times are nanoseconds since 1970 in UTC, durations nanoseconds. NULL is the
-- zero time and a reference to nothing; all else that may be missing is '' or 0.

CREATE TABLE captures (
  id           TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
  account      TEXT NOT NULL CHECK (account <> ''),
  created_at   INTEGER NOT NULL,
  name         TEXT NOT NULL,
  source       TEXT NOT NULL,
  instance     TEXT NOT NULL,
  image        TEXT NOT NULL,
  vcpus        INTEGER NOT NULL CHECK (vcpus > 0),
  memory_mib   INTEGER NOT NULL CHECK (memory_mib > 0),
  disk_mib     INTEGER NOT NULL CHECK (disk_mib > 0),
  live         INTEGER NOT NULL CHECK (live IN (0, 1)),
  keep         INTEGER NOT NULL CHECK (keep IN (0, 1)),
  persistence  TEXT NOT NULL CHECK (persistence IN ('', 'sticky', 'persistent', 'ephemeral')),
  priority     INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 10),
  delete_event TEXT NOT NULL CHECK (delete_event IN ('', 'OnStop', 'OnSuspend')),
  deleted_at   INTEGER
) STRICT;

CREATE TABLE vms (
  id           TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
  account      TEXT NOT NULL CHECK (account <> ''),
  created_at   INTEGER NOT NULL,
  name         TEXT NOT NULL,
  state        TEXT NOT NULL CHECK (state IN ('absent', 'running', 'suspended', 'stopped', 'failed')),
  verb         TEXT NOT NULL CHECK (verb IN ('', 'restore', 'start', 'resume', 'suspend', 'capture',
                                             'stop', 'kill', 'reboot', 'resize', 'delete')),
  verb_since   INTEGER,
  reason       TEXT NOT NULL,
  vcpus        INTEGER NOT NULL CHECK (vcpus > 0),
  memory_mib   INTEGER NOT NULL CHECK (memory_mib > 0),
  disk_mib     INTEGER NOT NULL CHECK (disk_mib > 0),
  persistence  TEXT NOT NULL CHECK (persistence IN ('sticky', 'persistent', 'ephemeral')),
  priority     INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 10),
  delete_event TEXT NOT NULL CHECK (delete_event IN ('', 'OnStop', 'OnSuspend')),
  idle_timeout INTEGER NOT NULL CHECK (idle_timeout >= 0),
  image        TEXT NOT NULL,
  base         TEXT REFERENCES captures (id),
  snapshot     TEXT NOT NULL,
  parent       TEXT NOT NULL,
  instance     TEXT NOT NULL,
  host_boot    TEXT NOT NULL,
  started_at   INTEGER,
  deleted_at   INTEGER
) STRICT;

-- Tombstones are kept for ever: what is listed all the time must not walk over them.
CREATE INDEX vms_live ON vms (created_at, id) WHERE deleted_at IS NULL;

-- For the reference, and to find what needs a capture.
CREATE INDEX vms_base ON vms (base) WHERE base IS NOT NULL;

CREATE TABLE accounts (
  id         TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
  name       TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE api_keys (
  hash       BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
  account    TEXT NOT NULL REFERENCES accounts (id),
  name       TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
