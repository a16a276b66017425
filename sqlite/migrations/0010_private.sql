-- Whether a VM's ports on the web are for those only who may use it.
ALTER TABLE vms ADD COLUMN private INTEGER NOT NULL DEFAULT 0;
