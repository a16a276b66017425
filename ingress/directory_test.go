package ingress

import (
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/mem"
)

// Nobody can take a name that is a VM's or looks like it, or one that is below
// another account's.
func TestCheck(t *testing.T) {
	names := mem.NewStore()
	for _, id := range []coppice.AccountID{"alice", "bob"} {
		if err := names.InsertAccount(t.Context(), coppice.Account{ID: id, CreatedAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	d := &Directory{Domain: "vm.example.com", Mappings: names}
	for _, name := range []string{"app.vm.example.com", "shop.example", "example.com"} {
		if _, err := d.Map(t.Context(), "bob", name, someVM, 80); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]struct{ alice, bob coppice.Code }{
		"web.vm.example.com":                     {},
		"a.b.vm.example.com":                     {},
		"www.example.com":                        {coppice.CodeDomainExists, ""},
		"xvm.example.com":                        {coppice.CodeDomainExists, ""},
		"3000-hello.vm.example.com":              {},
		someVM + ".example.com":                  {coppice.CodeDomainExists, ""},
		"shop.example":                           {coppice.CodeDomainExists, ""},
		"www.shop.example":                       {coppice.CodeDomainExists, ""},
		"a.b.shop.example":                       {coppice.CodeDomainExists, ""},
		"workshop.example":                       {},
		"app.vm.example.com":                     {coppice.CodeDomainExists, ""},
		"API.app.vm.example.com.":                {coppice.CodeDomainExists, ""},
		"vm.example.com":                         {coppice.CodeNoDomainOwner, coppice.CodeNoDomainOwner},
		"example.com":                            {coppice.CodeDomainExists, ""},
		"localhost":                              {coppice.CodeInvalidDomain, coppice.CodeInvalidDomain},
		"3000-" + someVM + ".vm.example.com":     {coppice.CodeNoDomainOwner, coppice.CodeNoDomainOwner},
		"3000-" + someVM + ".VM.example.com.":    {coppice.CodeNoDomainOwner, coppice.CodeNoDomainOwner},
		"03000-" + someVM + ".vm.example.com":    {coppice.CodeNoDomainOwner, coppice.CodeNoDomainOwner},
		"65536-" + someVM + ".vm.example.com":    {coppice.CodeNoDomainOwner, coppice.CodeNoDomainOwner},
		"app-" + someVM + ".vm.example.com":      {coppice.CodeNoDomainOwner, coppice.CodeNoDomainOwner},
		someVM + ".vm.example.com":               {coppice.CodeNoDomainOwner, coppice.CodeNoDomainOwner},
		"x.3000-" + someVM + ".vm.example.com":   {coppice.CodeNoDomainOwner, coppice.CodeNoDomainOwner},
		"x." + someVM + ".vm.example.com":        {coppice.CodeNoDomainOwner, coppice.CodeNoDomainOwner},
		someVM + ".x.vm.example.com":             {},
		"3000-" + someVM + ".vm.example.com.org": {},
	} {
		for account, want := range map[coppice.AccountID]coppice.Code{"alice": want.alice, "bob": want.bob} {
			err := d.Check(t.Context(), account, name)
			if err == nil && want != "" || err != nil && coppice.CodeOf(err) != want {
				t.Errorf("%s for %s: %v, want %q", name, account, err, want)
			}
		}
	}
}
