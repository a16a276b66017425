package access_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/access"
	"github.com/coppice-vm/coppice/mem"
)

// A desk is an authority with two accounts: the host's, and bob's.
type desk struct {
	*access.Authority
	t         *testing.T
	host, bob coppice.Principal
	hostKey   string
	bobKey    string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{Authority: access.New(mem.NewStore(), slog.New(slog.DiscardHandler)), t: t}
	var err error
	if d.hostKey, err = d.HostKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, d.bobKey, err = d.CreateAccount(t.Context(), "bob"); err != nil {
		t.Fatal(err)
	}
	d.host, d.bob = d.owner(d.hostKey), d.owner(d.bobKey)
	return d
}

// owner returns whom a key lets in.
func (d *desk) owner(key string) (who coppice.Principal) {
	d.t.Helper()
	if err := d.ByKey(d.t.Context(), key, func(_ context.Context, p coppice.Principal) { who = p }); err != nil {
		d.t.Fatal(err)
	}
	return who
}

// must returns v, if there was no error.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// stay lets somebody in who stays until they are put out, and returns, when
// they are in, what tells why they left.
func (d *desk) stay(enter func(do func(context.Context, coppice.Principal)) error) <-chan error {
	d.t.Helper()
	in, left := make(chan struct{}), make(chan error, 1)
	go func() {
		err := enter(func(ctx context.Context, _ coppice.Principal) {
			close(in)
			<-ctx.Done()
			left <- context.Cause(ctx)
		})
		if err != nil {
			left <- err
			close(in)
		}
	}()
	<-in
	return left
}

const vm, otherVM = coppice.VMID("aaaaaaaaaaaaaaaaaaaa"), coppice.VMID("bbbbbbbbbbbbbbbbbbbb")

// What is revoked lets nobody in any more, and whom it had let in is put out,
// and nobody else.
func TestRevocationIsAtOnce(t *testing.T) {
	for name, revoke := range map[string]func(d *desk, s staying) error{
		"key":      func(d *desk, s staying) error { return d.RevokeKey(d.t.Context(), d.bob, "", s.key.ID) },
		"token":    func(d *desk, s staying) error { return d.RevokeToken(d.t.Context(), d.bob, s.identity, s.token.ID) },
		"identity": func(d *desk, s staying) error { return d.DeleteIdentity(d.t.Context(), d.bob, s.identity) },
		"grant":    func(d *desk, s staying) error { return d.RevokeGrant(d.t.Context(), d.bob, s.identity, vm) },
		"users": func(d *desk, s staying) error {
			_, err := d.ChangeGrant(d.t.Context(), d.bob, s.identity, vm, []string{"carol"})
			return err
		},
		"account": func(d *desk, s staying) error { return d.DeleteAccount(d.t.Context(), d.host, d.bob.Account) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			s := d.staying(ctx)
			if err := revoke(d, s); err != nil {
				t.Fatal(err)
			}
			out := map[string][]string{
				"key": {"by the key"}, "token": {"by the token", "by the token, elsewhere"}, "identity": {"by the token", "by the token, elsewhere"},
				"grant": {"by the token"}, "users": {"by the token"},
				"account": {"by the key", "by another key", "by the token", "by the token, elsewhere", "by another's token"},
			}[name]
			for _, who := range out {
				if err := <-s.left[who]; !errors.Is(err, coppice.ErrRevoked) {
					t.Errorf("%s: left because of %v", who, err)
				}
				delete(s.left, who)
			}
			leave()
			for who, left := range s.left {
				if err := <-left; !errors.Is(err, context.Canceled) {
					t.Errorf("%s: put out, because of %v", who, err)
				}
			}
		})
	}
}

// staying are people who came by what bob gave out.
type staying struct {
	key      coppice.APIKey
	identity coppice.IdentityID
	token    coppice.Token
	left     map[string]<-chan error
}

func (d *desk) staying(ctx context.Context) staying {
	secret, key, err := d.CreateKey(ctx, d.bob, "", "laptop", false)
	if err != nil {
		d.t.Fatal(err)
	}
	one, two := must(d.CreateIdentity(ctx, d.bob)).ID, must(d.CreateIdentity(ctx, d.bob)).ID
	token, row, err := d.CreateToken(ctx, d.bob, one)
	if err != nil {
		d.t.Fatal(err)
	}
	another, _, err := d.CreateToken(ctx, d.bob, two)
	if err != nil {
		d.t.Fatal(err)
	}
	must(d.Grant(ctx, d.bob, one, vm, nil))
	must(d.Grant(ctx, d.bob, one, otherVM, nil))
	must(d.Grant(ctx, d.bob, two, vm, nil))
	byKey := func(key string) <-chan error {
		return d.stay(func(do func(context.Context, coppice.Principal)) error { return d.ByKey(ctx, key, do) })
	}
	byToken := func(token string, vm coppice.VMID) <-chan error {
		return d.stay(func(do func(context.Context, coppice.Principal)) error { return d.ByToken(ctx, token, vm, do) })
	}
	return staying{key, one, row, map[string]<-chan error{
		"by the key": byKey(secret), "by another key": byKey(d.bobKey), "by the host's key": byKey(d.hostKey),
		"by the token": byToken(token, vm), "by the token, elsewhere": byToken(token, otherVM), "by another's token": byToken(another, vm),
	}}
}

// A request whose key is revoked between being found and being let in is put out.
func TestNobodySlipsIn(t *testing.T) {
	store := &haltingStore{Store: mem.NewStore(), deleted: make(chan struct{})}
	d := &desk{Authority: access.New(store, slog.New(slog.DiscardHandler)), t: t}
	hostKey := must(d.HostKey(t.Context()))
	host := d.owner(hostKey)
	secret, key, err := d.CreateKey(t.Context(), host, "", "laptop", false)
	if err != nil {
		t.Fatal(err)
	}
	revoked := make(chan error, 1)
	store.found = func() { // once
		store.found = nil
		go func() { revoked <- d.RevokeKey(t.Context(), host, "", key.ID) }()
		<-store.deleted
		time.Sleep(20 * time.Millisecond) // time to put out nobody, if it did not wait for us
	}
	if err := d.ByKey(t.Context(), secret, func(ctx context.Context, _ coppice.Principal) {
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
			t.Error("the bearer of a revoked key is in")
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := <-revoked; err != nil {
		t.Error(err)
	}
}

// A haltingStore calls found when it has found a key, and says when one is deleted.
type haltingStore struct {
	access.Store
	found   func()
	deleted chan struct{}
}

func (s *haltingStore) KeyByHash(ctx context.Context, hash coppice.SecretHash) (coppice.APIKey, error) {
	key, err := s.Store.KeyByHash(ctx, hash)
	if s.found != nil {
		s.found()
	}
	return key, err
}

func (s *haltingStore) DeleteKey(ctx context.Context, account coppice.AccountID, id coppice.KeyID) error {
	defer close(s.deleted)
	return s.Store.DeleteKey(ctx, account, id)
}

func TestWhoManagesKeys(t *testing.T) {
	d, ctx := newDesk(t), t.Context()
	code := func(what string, err error, want coppice.Code) {
		t.Helper()
		if coppice.CodeOf(err) != want || err == nil {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
	adminSecret, adminKey, err := d.CreateKey(ctx, d.host, "", "second", true)
	if err != nil || !d.owner(adminSecret).Admin {
		t.Fatal(adminKey, err)
	}
	plainSecret, _, err := d.CreateKey(ctx, d.host, "", "app", false)
	if err != nil {
		t.Fatal(err)
	}
	plain := d.owner(plainSecret)
	if plain.Admin || plain.Account != d.host.Account {
		t.Errorf("%+v", plain)
	}

	_, _, err = d.CreateKey(ctx, plain, "", "more", true)
	code("admin key by a plain key", err, coppice.CodeForbidden)
	_, _, err = d.CreateKey(ctx, d.host, d.bob.Account, "more", true)
	code("admin key of another account", err, coppice.CodeForbidden)
	_, _, err = d.CreateKey(ctx, d.bob, d.host.Account, "mine", false)
	code("key of another account", err, coppice.CodeNotFound)
	_, err = d.Keys(ctx, d.bob, d.host.Account)
	code("keys of another account", err, coppice.CodeNotFound)
	_, _, err = d.CreateKey(ctx, d.host, "nobody", "lost", false)
	code("key of no account", err, coppice.CodeNotFound)
	for _, name := range []string{"", "a\nb", string(make([]byte, 200))} {
		_, _, err = d.CreateKey(ctx, d.bob, "", name, false)
		code("name", err, coppice.CodeInvalidRequest)
	}
	code("revoke of the key in use", d.RevokeKey(ctx, plain, "", plain.Key), coppice.CodeConflict)
	code("revoke of an admin key by a plain key", d.RevokeKey(ctx, plain, "", adminKey.ID), coppice.CodeForbidden)
	code("revoke of another account's key", d.RevokeKey(ctx, d.bob, "", adminKey.ID), coppice.CodeNotFound)
	code("revoke of another account's key by its name", d.RevokeKey(ctx, d.bob, d.host.Account, adminKey.ID), coppice.CodeNotFound)

	// An admin gives an account that lost its keys a new one.
	secret, _, err := d.CreateKey(ctx, d.host, d.bob.Account, "found", false)
	if err != nil || d.owner(secret).Account != d.bob.Account {
		t.Error(err)
	}
	if err := d.RevokeKey(ctx, d.host, d.bob.Account, d.bob.Key); err != nil {
		t.Error(err)
	}
	if err := d.ByKey(ctx, d.bobKey, nil); !errors.Is(err, coppice.ErrNoKey) {
		t.Error(err)
	}
	code("delete of one's own account", d.DeleteAccount(ctx, d.host, d.host.Account), coppice.CodeConflict)
	code("delete of no account", d.DeleteAccount(ctx, d.host, "nobody"), coppice.CodeNotFound)
}

func TestUseIsNotedToTheHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		used := func() time.Time { return must(d.Keys(t.Context(), d.bob, ""))[0].UsedAt }
		for _, after := range []time.Duration{0, 59 * time.Minute, 2 * time.Minute, 5 * time.Hour} {
			time.Sleep(after)
			before := used()
			d.owner(d.bobKey)
			if got := used(); time.Since(got) >= time.Hour || !got.Equal(got.Truncate(time.Hour)) {
				t.Errorf("after %v: %v", after, got)
			} else if after == 59*time.Minute && !got.Equal(before) {
				t.Error("noted again within the hour")
			}
		}
	})
}

func TestUsersOfAGrant(t *testing.T) {
	d, ctx := newDesk(t), t.Context()
	one := must(d.CreateIdentity(ctx, d.bob)).ID
	for _, users := range [][]string{{}, {""}, {"bob", "a:b"}, {"a b"}, {"a/b"}, {"a\x00"}, {string(make([]byte, 300))}, make([]string, 101)} {
		if _, err := d.Grant(ctx, d.bob, one, vm, users); coppice.CodeOf(err) != coppice.CodeInvalidRequest {
			t.Errorf("%q: %v", users, err)
		}
	}
	grant := must(d.Grant(ctx, d.bob, one, vm, []string{"bob", "1000"}))
	for user, want := range map[string]bool{"bob": true, "1000": true, "": false, "root": false, "0": false, "Bob": false, "bob ": false} {
		if err := grant.Allow(user); (err == nil) != want {
			t.Errorf("%q: %v", user, err)
		}
	}
	grant = must(d.ChangeGrant(ctx, d.bob, one, vm, []string{"root"}))
	if err := errors.Join(grant.Allow(""), grant.Allow("root")); err != nil {
		t.Error(err)
	}
	grant = must(d.ChangeGrant(ctx, d.bob, one, vm, nil))
	if err := errors.Join(grant.Allow(""), grant.Allow("anybody")); err != nil {
		t.Error(err)
	}
}
