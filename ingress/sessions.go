package ingress

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coppice-vm/coppice/internal/host"
)

// Sessions are those of browsers that visit private VMs. Each is the secret that
// was shown for it, sealed, in a cookie of one host name: nothing is kept here,
// and a session ends with its secret, or when its time is over. No VM sees it.
type Sessions struct{ aead cipher.AEAD }

// OpenSessions returns the sessions that are sealed with the key in a file, which
// is made, readable by its owner only, if it is not there.
func OpenSessions(file string) (*Sessions, error) {
	key, err := host.ReadOrMake(file, func() ([]byte, error) {
		key := make([]byte, 32)
		rand.Read(key) // never fails; see crypto/rand
		return key, nil
	})
	if err != nil {
		return nil, fmt.Errorf("the key of sessions: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("the key of sessions, %s: %w", file, err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &Sessions{aead}, err
}

// The names of the cookie. Where there is TLS browsers let no other host, such
// as another VM, set one with that prefix.
const (
	cookieName       = "coppice-visit"
	secureCookieName = "__Host-" + cookieName
)

// begin returns the cookie of a session for the host of a request.
func (s *Sessions) begin(r *http.Request, secret string) *http.Cookie {
	c := &http.Cookie{
		Name: cookieName, Value: s.seal(secret, hostName(r.Host), time.Now().Add(visitorTime)),
		Path: "/", MaxAge: int(visitorTime.Seconds()), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if r.TLS != nil {
		c.Name, c.Secure = secureCookieName, true
	}
	return c
}

// of returns the secrets of the sessions that a request belongs to. Other pages
// than the host's own may follow links to it, and no more: to browsers all VMs of
// a host are one site, whose cookies they send.
func (s *Sessions) of(r *http.Request) (secrets []string) {
	if fromElsewhere(r) {
		return nil
	}
	for _, c := range r.Cookies() {
		if !isSession(c.Name) {
			continue
		}
		if secret, ok := s.unseal(c.Value, hostName(r.Host), time.Now()); ok {
			secrets = append(secrets, secret)
		}
	}
	return secrets
}

func fromElsewhere(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return false
	case "": // an old browser, or a program
		origin := r.Header.Get("Origin")
		at, err := url.Parse(origin)
		return origin != "" && (err != nil || at.Host != r.Host)
	}
	link := r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
	return !link || r.Method != http.MethodGet && r.Method != http.MethodHead
}

func (s *Sessions) seal(secret, host string, ends time.Time) string {
	plain := append(binary.BigEndian.AppendUint64(nil, uint64(ends.Unix())), secret...)
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, plain, []byte(host)))
}

func (s *Sessions) unseal(value, host string, now time.Time) (secret string, ok bool) {
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return "", false
	}
	plain, err := s.aead.Open(nil, nil, sealed, []byte(host))
	if err != nil || len(plain) < 8 || now.Unix() >= int64(binary.BigEndian.Uint64(plain)) {
		return "", false
	}
	return string(plain[8:]), true
}

func isSession(name string) bool { return name == cookieName || name == secureCookieName }

// dropSessions removes the cookies of sessions from a header, and nothing else.
func dropSessions(h http.Header) {
	var lines []string
	for _, line := range h["Cookie"] {
		cookies := slices.DeleteFunc(strings.Split(line, ";"), func(c string) bool {
			name, _, _ := strings.Cut(c, "=")
			return isSession(strings.TrimSpace(name))
		})
		if len(cookies) > 0 {
			lines = append(lines, strings.TrimLeft(strings.Join(cookies, ";"), " "))
		}
	}
	if h.Del("Cookie"); lines != nil {
		h["Cookie"] = lines
	}
}
