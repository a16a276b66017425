-- How much traffic counts, when a VM was last active, and how long it has been
-- seen to be idle since.
ALTER TABLE vms ADD COLUMN activity_bytes INTEGER NOT NULL DEFAULT 1024 CHECK (activity_bytes >= 0);
ALTER TABLE vms ADD COLUMN active_at INTEGER;
ALTER TABLE vms ADD COLUMN idle INTEGER NOT NULL DEFAULT 0 CHECK (idle >= 0);
