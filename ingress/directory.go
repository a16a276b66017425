package ingress

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/coppice-vm/coppice"
)

// A Directory knows which host names lead to VMs: those below the domain, by
// their form, and those that accounts have mapped.
type Directory struct {
	// Domain that the names of VMs are below, in lower case, without dots at its ends.
	Domain   string
	Mappings coppice.Mappings
}

// Map has a name lead to a port of a VM, which is the account's. It is the
// account's from now on, and leads there instead if it was before.
func (d *Directory) Map(ctx context.Context, account coppice.AccountID, name string, vm coppice.VMID, port uint16) (coppice.Mapping, error) {
	if err := d.Check(ctx, account, name); err != nil {
		return coppice.Mapping{}, err
	}
	m := coppice.Mapping{Name: hostName(name), Account: account, VM: vm, Port: port, CreatedAt: time.Now().UTC()}
	err := d.Mappings.PutMapping(ctx, m)
	if errors.Is(err, coppice.ErrExists) {
		err = taken(m.Name)
	}
	return m, err
}

// Check returns an error if an account cannot map a name. What is below a name
// that another has mapped is that account's too: browsers have the one set
// cookies for the other. What others mapped below it before stays theirs, or
// whoever maps www.example.com could keep all others from example.com.
func (d *Directory) Check(ctx context.Context, account coppice.AccountID, name string) error {
	host := hostName(name)
	if !coppice.ValidHostName(host) {
		return coppice.Errorf(coppice.CodeInvalidDomain, "%q is not the name of a host, like app.example.com", name).With("domain", name)
	}
	if d.own(host) {
		return coppice.Errorf(coppice.CodeNoDomainOwner, "%s is the host's own; any other name can be mapped, like app.%s", host, d.Domain).With("domain", host)
	}
	for above, more := host, true; more && above != d.Domain; _, above, more = strings.Cut(above, ".") {
		m, err := d.Mappings.Mapping(ctx, above)
		switch {
		case errors.Is(err, coppice.ErrNoMapping):
		case err != nil:
			return err
		case m.Account != account:
			return taken(above)
		}
	}
	return nil
}

// own reports whether a name is nobody's to map: the domain, what is of the form
// of [Target.Name] or looks like it, and what is below that.
func (d *Directory) own(host string) bool {
	rest, below := strings.CutSuffix(host, "."+d.Domain)
	label := rest[strings.LastIndexByte(rest, '.')+1:]
	id := label[strings.LastIndexByte(label, '-')+1:]
	return host == d.Domain || below && coppice.VMID(id).Valid()
}

func taken(name string) error {
	return coppice.Errorf(coppice.CodeDomainExists, "%s is another account's", name).With("domain", name)
}

// Unmap has a name of an account's lead nowhere.
func (d *Directory) Unmap(ctx context.Context, account coppice.AccountID, name string) error {
	err := d.Mappings.DeleteMapping(ctx, account, hostName(name))
	if errors.Is(err, coppice.ErrNoMapping) {
		return coppice.Errorf(coppice.CodeNotFound, "the account has not mapped %s", name).With("domain", name)
	}
	return err
}

// List returns an account's mappings, by name.
func (d *Directory) List(ctx context.Context, account coppice.AccountID) ([]coppice.Mapping, error) {
	return d.Mappings.Mappings(ctx, account)
}

// find returns what a name leads to.
func (d *Directory) find(ctx context.Context, name string) (Target, error) {
	if t, ok := parseName(name, d.Domain); ok {
		return t, nil
	}
	m, err := d.Mappings.Mapping(ctx, name)
	if errors.Is(err, coppice.ErrNoMapping) {
		err = coppice.Errorf(coppice.CodeNotFound,
			"no VM is called %q: a port of a VM is at <port>-<id of the VM>.%s, or where a name is mapped to it (coppice domain map)", name, d.Domain)
	}
	return Target{m.VM, m.Port}, err
}
