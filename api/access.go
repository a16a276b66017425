package api

import "time"

// TokenPrefix is what access tokens begin with, and API keys do not.
const TokenPrefix = "cpt_"

// A Key is an API key as it is listed. Its secret is not known any more.
type Key struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	AccountID  string     `json:"accountId"`
	Admin      bool       `json:"admin" doc:"It may manage the host's accounts, too"`
	CreatedAt  time.Time  `json:"createdAt"`
	LastUsedAt *time.Time `json:"lastUsedAt,omitempty" doc:"To the hour; absent if it never was used"`
}

// CreateKey asks for an API key.
type CreateKey struct {
	_         struct{} `json:"-" additionalProperties:"true"`
	Name      string   `json:"name,omitempty" doc:"What the key is for; need not be unique"`
	Admin     *bool    `json:"admin,omitempty" doc:"It may manage the host's accounts, too. Such a key is made by such a key"`
	AccountID *string  `json:"accountId,omitempty" doc:"Whom it is for; absent is the account of the caller. Another is for an admin to name"`
}

// A CreatedKey is a new API key.
type CreatedKey struct {
	Key
	Secret string `json:"key" doc:"What the bearer shows. It is not kept, and is not shown again"`
}

// A BrowserSession is the page's half of a session. The other half is in the answer's cookie.
type BrowserSession struct {
	Secret string `json:"session" doc:"To be shown in the header X-Coppice-Session"`
}

// A KeyList is an account's API keys.
type KeyList struct {
	Keys []Key `json:"keys" nullable:"false"`
}

// An Account owns VMs.
type Account struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"createdAt"`
}

// CreateAccount asks for an account.
type CreateAccount struct {
	_    struct{} `json:"-" additionalProperties:"true"`
	Name string   `json:"name,omitempty" doc:"Need not be unique"`
}

// A CreatedAccount is a new account.
type CreatedAccount struct {
	Account
	Secret string `json:"key" doc:"Its first API key. It is not kept, and is not shown again"`
}

// An AccountList is the host's accounts.
type AccountList struct {
	Accounts []Account `json:"accounts" nullable:"false"`
}

// A DeletedAccount is one that is gone.
type DeletedAccount struct {
	ID string `json:"id"`
}

// An Identity is somebody who may use some VMs from the inside.
type Identity struct {
	ID      string `json:"id"`
	Managed bool   `json:"managed" doc:"Always false: this host makes none by itself"`
}

// An IdentityList is a part of an account's identities.
type IdentityList struct {
	Identities []Identity `json:"identities" nullable:"false"`
	Offset     int        `json:"offset"`
	Total      int        `json:"total"`
}

// A Token is an access token of an identity, as it is listed.
type Token struct {
	ID string `json:"id"`
}

// A CreatedToken is a new access token.
type CreatedToken struct {
	ID     string `json:"id"`
	Secret string `json:"token" doc:"What the bearer shows. It is not kept, and is not shown again"`
}

// A TokenList is an identity's access tokens.
type TokenList struct {
	Tokens []Token `json:"tokens" nullable:"false"`
}

// GrantVM says as which users of a VM an identity may act.
type GrantVM struct {
	_            struct{} `json:"-" additionalProperties:"true"`
	AllowedUsers []string `json:"allowedUsers,omitempty" doc:"Users of the guest by name; null is every user"`
}

// A VMGrant lets an identity use a VM from the inside.
type VMGrant struct {
	ID           string    `json:"id"`
	VMID         string    `json:"vmId"`
	IdentityID   string    `json:"identityId"`
	AllowedUsers []string  `json:"allowedUsers,omitempty" doc:"Absent is every user"`
	GrantedAt    time.Time `json:"grantedAt"`
	GrantedBy    string    `json:"grantedBy" doc:"The account"`
}

// A VMGrantList is a part of an identity's grants.
type VMGrantList struct {
	Permissions []VMGrant `json:"permissions" nullable:"false"`
	Offset      int       `json:"offset"`
	Total       int       `json:"total"`
}
