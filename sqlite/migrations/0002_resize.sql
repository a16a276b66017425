-- What a resize in flight leads to; 0 otherwise.
ALTER TABLE vms ADD COLUMN target_vcpus INTEGER NOT NULL DEFAULT 0;
ALTER TABLE vms ADD COLUMN target_memory_mib INTEGER NOT NULL DEFAULT 0;
ALTER TABLE vms ADD COLUMN target_disk_mib INTEGER NOT NULL DEFAULT 0;
