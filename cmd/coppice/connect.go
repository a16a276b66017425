package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/internal/host"
)

var errNoKey = errors.New("no API key: give --api-key, or set COPPICE_API_KEY")

// credentials finds the API's address and key. The key in the data directory
// goes to the address beside it and to no other.
func (m *Main) credentials() (host.Credentials, error) {
	found := m.told()
	if found.URL != "" {
		if found.Key == "" {
			return found, errNoKey
		}
		return found, nil
	}
	file, err := m.config.dir().ReadCredentials()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return found, fmt.Errorf("no coppice has been set up in %s; try: make up (or give --api-url)", m.config.data)
	case errors.Is(err, fs.ErrPermission):
		return found, fmt.Errorf("%w; be root, or set COPPICE_API_URL and COPPICE_API_KEY", err)
	case err != nil:
		return found, err
	}
	return host.Credentials{URL: file.URL, Key: cmp.Or(found.Key, file.Key)}, nil
}

// told returns what flags and the environment say of the API's address and key.
func (m *Main) told() (found host.Credentials) {
	sources := []host.Credentials{
		{URL: m.apiURL, Key: m.apiKey},
		{URL: m.Getenv("COPPICE_API_URL"), Key: m.Getenv("COPPICE_API_KEY")},
		{URL: m.Getenv("FREESTYLE_API_URL"), Key: m.Getenv("FREESTYLE_API_KEY")},
	}
	if sources[2].URL == "" {
		sources = sources[:2] // the SDK's key without its URL is for somebody else's service
	}
	for _, s := range sources {
		found.URL = cmp.Or(found.URL, s.URL)
		found.Key = cmp.Or(found.Key, s.Key)
	}
	return found
}

func (m *Main) client() (*client.Client, error) {
	c, err := m.credentials()
	if err != nil {
		return nil, err
	}
	return client.New(c.URL, c.Key)
}

// calling is then for what calls the API.
func (m *Main) calling(run func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return m.then(func(ctx context.Context, args []string) error {
		c, err := m.client()
		if err != nil {
			return err
		}
		return run(ctx, c, args)
	})
}

// inVM is calling for what is about a VM, which is the first argument.
func (m *Main) inVM(run func(ctx context.Context, c *client.Client, vm string, args []string) error) func(*cobra.Command, []string) error {
	return m.calling(func(ctx context.Context, c *client.Client, args []string) error {
		vm, err := find(ctx, c, args[0])
		if err != nil {
			return err
		}
		return run(ctx, c, vm, args[1:])
	})
}

// find returns the id of the VM that ref names.
func find(ctx context.Context, c *client.Client, ref string) (string, error) {
	if coppice.VMID(ref).Valid() {
		return ref, nil
	}
	list, err := c.VMs(ctx, client.Query{})
	if err != nil {
		return "", err
	}
	return pick(list.VMs, ref, coppice.CodeVMNotFound, "VM", func(vm api.VM) label { return label{vm.ID, vm.Name} })
}

// findSnapshot returns the id of the snapshot that ref names, as VMs are named.
func findSnapshot(ctx context.Context, c *client.Client, ref string) (string, error) {
	if coppice.CaptureID(ref).Valid() {
		return ref, nil
	}
	list, err := c.Snapshots(ctx, false)
	if err != nil {
		return "", err
	}
	return pick(list.Snapshots, ref, coppice.CodeSnapshotNotFound, "snapshot", func(s api.Snapshot) label { return label{s.SnapshotID, s.Name} })
}

// A label is what something can be named by; not everything has a name.
type label struct{ id, name string }

// pick returns the id of what ref names, by its whole id, its name, or a prefix
// of its id. Where nothing of that kind does, the error's code is missing.
func pick[T any](all []T, ref string, missing coppice.Code, kind string, labelOf func(T) label) (string, error) {
	for _, matches := range []func(label) bool{
		func(l label) bool { return l.id == ref },
		func(l label) bool { return l.name == ref },
		func(l label) bool { return strings.HasPrefix(l.id, ref) },
	} {
		var ids []string
		for _, one := range all {
			if l := labelOf(one); ref != "" && matches(l) {
				ids = append(ids, l.id)
			}
		}
		switch len(ids) {
		case 0:
			continue
		case 1:
			return ids[0], nil
		}
		return "", fmt.Errorf("%q could be any of %s", ref, strings.Join(ids, ", "))
	}
	return "", coppice.Errorf(missing, "there is no %s that %[2]q names, or whose id begins with it", kind, ref)
}

// completeVMs offers the names of VMs, or their ids where they have none, to the shell.
func (m *Main) completeVMs(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const noFiles = cobra.ShellCompDirectiveNoFileComp
	c, err := m.client()
	if err != nil {
		return nil, noFiles
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second) // somebody waits at a prompt
	defer cancel()
	list, err := c.VMs(ctx, client.Query{})
	if err != nil {
		return nil, noFiles
	}
	var offers []cobra.Completion
	for _, vm := range list.VMs {
		offer := cmp.Or(vm.Name, vm.ID)
		if !slices.Contains(args, offer) {
			offers = append(offers, cobra.CompletionWithDesc(offer, string(vm.State)))
		}
	}
	return offers, noFiles
}

// completeVM is completeVMs for a command that takes a VM as its first argument only.
func (m *Main) completeVM(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return m.completeVMs(cmd, args, prefix)
}

// parsePort reads a TCP port of a VM.
func parsePort(s string) (uint16, error) {
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("%q: a port of a VM is a number from 1 to 65535", s)
	}
	return uint16(port), nil
}
