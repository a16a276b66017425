-- The limits of accounts that have some of their own. -1 is no limit.
CREATE TABLE limits (
  account         TEXT NOT NULL PRIMARY KEY CHECK (account <> ''),
  vms             INTEGER NOT NULL,
  running         INTEGER NOT NULL,
  each_vcpus      INTEGER NOT NULL,
  each_memory_mib INTEGER NOT NULL,
  each_disk_mib   INTEGER NOT NULL,
  sum_vcpus       INTEGER NOT NULL,
  sum_memory_mib  INTEGER NOT NULL,
  sum_disk_mib    INTEGER NOT NULL,
  snapshots       INTEGER NOT NULL,
  ptys            INTEGER NOT NULL
) STRICT;

-- For what an account has of snapshots.
CREATE INDEX captures_account ON captures (account);
