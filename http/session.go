package http

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coppice-vm/coppice/api"
)

// sessionTime is how long a browser stays signed in.
const sessionTime = 30 * 24 * time.Hour

// A browser's session is its API key, sealed, in a cookie that no script reads,
// and what opens it, which the page keeps and shows in a header. The cookie by
// itself is worth nothing: browsers send it to every port of this host, some of
// which lead into VMs. So is the header without the cookie, and no other site
// can send it. Nothing is kept here, and with the key the session ends.

// signIn begins a session for the bearer of an API key.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request, _ caller) error {
	secret := make([]byte, 32)
	rand.Read(secret) // never fails; see crypto/rand
	sealed := sealer(secret).Seal(nil, nil, []byte(keyOf(r)), nil)
	http.SetCookie(w, sessionCookie(r, base64.RawURLEncoding.EncodeToString(sealed), int(sessionTime.Seconds())))
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, api.BrowserSession{Secret: base64.RawURLEncoding.EncodeToString(secret)})
}

// signOut has the browser forget its half of the session.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request, _ caller) error {
	http.SetCookie(w, sessionCookie(r, "", -1))
	return writeJSON(w, api.Empty{})
}

// sessionKey returns the API key of the session that a request belongs to, if there is one.
func sessionKey(r *http.Request) (key string, ok bool) {
	secret, err := base64.RawURLEncoding.DecodeString(sessionSecret(r))
	if err != nil || len(secret) != 32 {
		return "", false
	}
	cookie, err := r.Cookie(sessionCookieName(r))
	if err != nil {
		return "", false
	}
	sealed, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil {
		return "", false
	}
	opened, err := sealer(secret).Open(nil, nil, sealed, nil)
	return string(opened), err == nil
}

// sessionSecret returns the page's half of a session. A WebSocket of a browser
// cannot have headers and says it as a protocol.
func sessionSecret(r *http.Request) string {
	if secret := r.Header.Get(api.HeaderBrowserSession); secret != "" {
		return secret
	}
	for protocol := range strings.SplitSeq(r.Header.Get("Sec-WebSocket-Protocol"), ",") {
		if secret, ok := strings.CutPrefix(strings.TrimSpace(protocol), api.ProtocolBrowserSession); ok {
			return secret
		}
	}
	return ""
}

func sealer(secret []byte) cipher.AEAD {
	block, err := aes.NewCipher(secret)
	if err != nil {
		panic(err) // of the secret's length, which is right
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // likewise
	}
	return aead
}

func sessionCookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: sessionCookieName(r), Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: strings.HasPrefix(r.Header.Get("Origin"), "https://"), // TLS is a proxy's, in front
	}
}

// sessionCookieName has the port in it: a host's cookies are those of all its ports.
func sessionCookieName(r *http.Request) string {
	_, port, _ := net.SplitHostPort(r.Host)
	return "coppice" + port
}
