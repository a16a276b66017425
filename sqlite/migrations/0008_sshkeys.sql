-- Public keys that let people log in by SSH. They go with their account.
CREATE TABLE ssh_keys (
  id          TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
  account     TEXT NOT NULL REFERENCES accounts (id),
  name        TEXT NOT NULL,
  fingerprint TEXT NOT NULL UNIQUE,
  public_key  TEXT NOT NULL,
  created_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX ssh_keys_account ON ssh_keys (account);

CREATE TRIGGER ssh_keys_have_an_owner BEFORE INSERT ON ssh_keys
  WHEN EXISTS (SELECT 1 FROM accounts WHERE id = NEW.account AND deleted_at IS NOT NULL)
  BEGIN SELECT RAISE(ABORT, 'the account has been deleted'); END;
