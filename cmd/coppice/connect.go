package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/internal/host"
)

var errNoKey = errors.New("no API key: give --api-key, or set COPPICE_API_KEY")

// credentials finds the API's address and key. The key in the data directory
// goes to the address beside it and to no other.
func (m *Main) credentials() (host.Credentials, error) {
	var found host.Credentials
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

func (m *Main) client() (*client.Client, error) {
	c, err := m.credentials()
	if err != nil {
		return nil, err
	}
	return client.New(c.URL, c.Key)
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
	labels := make([]label, len(list.VMs))
	for i, vm := range list.VMs {
		labels[i] = label{vm.ID, vm.Name}
	}
	id, err := pick(labels, ref)
	if id == "" && err == nil {
		err = coppice.Errorf(coppice.CodeVMNotFound, "there is no VM whose name is %[1]q or whose id begins with %[1]q", ref)
	}
	return id, err
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
	labels := make([]label, len(list.Snapshots))
	for i, s := range list.Snapshots {
		labels[i] = label{s.SnapshotID, s.Name}
	}
	id, err := pick(labels, ref)
	if id == "" && err == nil {
		err = coppice.Errorf(coppice.CodeSnapshotNotFound, "there is no snapshot whose name is %[1]q or whose id begins with %[1]q", ref)
	}
	return id, err
}

// A label is what something can be named by.
type label struct{ id, name string }

// pick returns the id of what ref names, by its whole id, its name, or a prefix
// of its id; empty if that is nothing.
func pick(all []label, ref string) (string, error) {
	for _, matches := range []func(label) bool{
		func(l label) bool { return l.id == ref },
		func(l label) bool { return l.name == ref },
		func(l label) bool { return strings.HasPrefix(l.id, ref) },
	} {
		var ids []string
		for _, l := range all {
			if ref != "" && matches(l) {
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
	return "", nil
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
