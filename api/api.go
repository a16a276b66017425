// Package api holds the JSON shapes of the HTTP API, without behaviour: what
// package http serves and package client asks for. The shapes are those of the
// npm client freestyle 0.1.63, plus a few members and routes of our own, which
// its users may ignore.
//
// Every optional member of a request may be absent or null, which mean the
// same unless its comment says otherwise. The doc tags become the descriptions
// in /openapi.json.
package api

// Headers of the API beyond the standard ones.
const (
	// HeaderTrace is on every answer: the request's id, which is also in the daemon's log.
	HeaderTrace = "X-Freestyle-Trace-Id"
	// HeaderLinuxUser says as which user of the guest a request acts; absent is root.
	HeaderLinuxUser = "X-Freestyle-Vm-Linux-User-Id"
	// HeaderAccessToken carries the token of an identity, where Authorization carries an API key.
	HeaderAccessToken = "X-Freestyle-Identity-Access-Token"
	// HeaderMode is the permission bits of a file sent as raw bytes, in octal.
	HeaderMode = "X-Coppice-Mode"
	// HeaderBrowserSession carries the page's half of a browser's session, whose other half is a cookie.
	HeaderBrowserSession = "X-Coppice-Session"
)

// What a page offers as the protocols of a WebSocket: the one that is spoken,
// and, in place of [HeaderBrowserSession], its half of the session after a prefix.
const (
	ProtocolBrowser        = "coppice"
	ProtocolBrowserSession = "coppice.session."
)

// An Error is the body of every answer that is not a success. Further members
// depend on the code.
type Error struct {
	_       struct{} `json:"-" additionalProperties:"true"`
	Code    string   `json:"code" doc:"What went wrong, for programs; the codes are the contract's"`
	Error   string   `json:"error" doc:"The same as code"`
	Message string   `json:"message" doc:"What went wrong and what would be right, for people"`
}

// Empty is the answer of a call that has nothing to say.
type Empty struct{}

// WhoAmI says whom the API key or token belongs to.
type WhoAmI struct {
	AccountID  string `json:"accountId"`
	IdentityID string `json:"identityId,omitempty" doc:"Absent if it is an API key"`
}

// Health says that the daemon takes requests.
type Health struct {
	Status  string `json:"status" enum:"ok"`
	Version string `json:"version"`
}
