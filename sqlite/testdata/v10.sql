INSERT INTO captures VALUES ('sc-bbbbbbbbbbbbbbbbbbbb', 'aaaaaaaa-0000-0000-0000-000000000000', 1795435200123456789,
  'old picture', 'ssssssssssssssssssss', 'jjjjjjjjjjjjjjjjjjjj', 'debian', 1, 512, 8192, 1, 1, 'sticky', 5, '',
  1795438800123456789);
INSERT INTO vms VALUES ('vvvvvvvvvvvvvvvvvvvv', 'aaaaaaaa-0000-0000-0000-000000000000', 1795435200123456789,
  'old friend', 'running', 'stop', 1795438800123456789, 'because', 2, 1024, 16384, 'ephemeral', 3, 'OnStop', 300000000000,
  'debian', 'sc-bbbbbbbbbbbbbbbbbbbb', 'sc-ssssssssssssssssssss', 'pppppppppppppppppppp', 'iiiiiiiiiiiiiiiiiiii', 'boot',
  1795435260123456789, 1795442400123456789, 0, 0, 0, 1024, NULL, 0, '', 0);
INSERT INTO accounts (id, name, created_at) VALUES ('aaaaaaaa-0000-0000-0000-000000000000', 'default', 1795435200123456789);
INSERT INTO api_keys VALUES ('kkkkkkkkkkkkkkkkkkkk', x'5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a',
  'aaaaaaaa-0000-0000-0000-000000000000', 'key', 1, 1795435200123456789, NULL);
INSERT INTO identities VALUES ('dddddddddddddddddddd', 'aaaaaaaa-0000-0000-0000-000000000000', 1795435200123456789);
INSERT INTO tokens VALUES ('tttttttttttttttttttt', x'a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5',
  'dddddddddddddddddddd', 1795435200123456789);
INSERT INTO grants VALUES ('gggggggggggggggggggg', 'dddddddddddddddddddd', 'vvvvvvvvvvvvvvvvvvvv', '["bob"]', 1795435200123456789,
  'aaaaaaaa-0000-0000-0000-000000000000');
INSERT INTO limits VALUES ('aaaaaaaa-0000-0000-0000-000000000000', 10, 9, 8, 7168, 6144, 16, 16384, 65536, 3, 2);
INSERT INTO events VALUES (7, 1795435200123456789, 'vvvvvvvvvvvvvvvvvvvv', 'aaaaaaaa-0000-0000-0000-000000000000', 'stop', 'stopped', 0, 'because', 5);
INSERT INTO ssh_keys VALUES ('hhhhhhhhhhhhhhhhhhhh', 'aaaaaaaa-0000-0000-0000-000000000000', 'laptop', 'SHA256:print', 'ssh-ed25519 AAAA', 1795435200123456789);
INSERT INTO mappings VALUES ('app.example.com', 'aaaaaaaa-0000-0000-0000-000000000000', 'vvvvvvvvvvvvvvvvvvvv', 3000, 1795435200123456789);
