-- What a VM may reach; '' is the host's default.
ALTER TABLE vms ADD COLUMN egress TEXT NOT NULL DEFAULT '';
