-- Where host names lead.
CREATE TABLE mappings (
  name       TEXT NOT NULL PRIMARY KEY CHECK (name <> ''),
  account    TEXT NOT NULL REFERENCES accounts (id),
  vm         TEXT NOT NULL CHECK (vm <> ''),
  port       INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX mappings_account ON mappings (account, name);

CREATE TRIGGER mappings_have_an_owner BEFORE INSERT ON mappings
  WHEN EXISTS (SELECT 1 FROM accounts WHERE id = NEW.account AND deleted_at IS NOT NULL)
  BEGIN SELECT RAISE(ABORT, 'the account has been deleted'); END;
