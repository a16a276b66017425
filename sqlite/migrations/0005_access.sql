-- An account that was deleted stays as a tombstone: its id is not given out
-- again, and nothing can be made for it any more.
ALTER TABLE accounts ADD COLUMN deleted_at INTEGER;

CREATE TABLE keys (
  id         TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
  hash       BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
  account    TEXT NOT NULL REFERENCES accounts (id),
  name       TEXT NOT NULL,
  admin      INTEGER NOT NULL CHECK (admin IN (0, 1)),
  created_at INTEGER NOT NULL,
  used_at    INTEGER
) STRICT;

-- Until now there was one account, and its keys were the host's own.
INSERT INTO keys SELECT lower(hex(randomblob(10))), hash, account, name, 1, created_at, NULL FROM api_keys;
DROP TABLE api_keys;
ALTER TABLE keys RENAME TO api_keys;
CREATE INDEX api_keys_account ON api_keys (account);

CREATE TABLE identities (
  id         TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
  account    TEXT NOT NULL REFERENCES accounts (id),
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX identities_account ON identities (account);

CREATE TABLE tokens (
  id         TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
  hash       BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
  identity   TEXT NOT NULL REFERENCES identities (id) ON DELETE CASCADE,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX tokens_identity ON tokens (identity);

-- Users is a JSON list; NULL is every user.
CREATE TABLE grants (
  id         TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
  identity   TEXT NOT NULL REFERENCES identities (id) ON DELETE CASCADE,
  vm         TEXT NOT NULL CHECK (vm <> ''),
  users      TEXT,
  granted_at INTEGER NOT NULL,
  granted_by TEXT NOT NULL,
  UNIQUE (identity, vm)
) STRICT;

CREATE TRIGGER vms_have_an_owner BEFORE INSERT ON vms
  WHEN EXISTS (SELECT 1 FROM accounts WHERE id = NEW.account AND deleted_at IS NOT NULL)
  BEGIN SELECT RAISE(ABORT, 'the account has been deleted'); END;
CREATE TRIGGER captures_have_an_owner BEFORE INSERT ON captures
  WHEN EXISTS (SELECT 1 FROM accounts WHERE id = NEW.account AND deleted_at IS NOT NULL)
  BEGIN SELECT RAISE(ABORT, 'the account has been deleted'); END;
CREATE TRIGGER api_keys_have_an_owner BEFORE INSERT ON api_keys
  WHEN EXISTS (SELECT 1 FROM accounts WHERE id = NEW.account AND deleted_at IS NOT NULL)
  BEGIN SELECT RAISE(ABORT, 'the account has been deleted'); END;
CREATE TRIGGER identities_have_an_owner BEFORE INSERT ON identities
  WHEN EXISTS (SELECT 1 FROM accounts WHERE id = NEW.account AND deleted_at IS NOT NULL)
  BEGIN SELECT RAISE(ABORT, 'the account has been deleted'); END;
