package api

// A Network is a VM's connection to the world.
type Network struct {
	Egress        string `json:"egress" doc:"What the VM may reach: open, closed, or a list of networks and names"`
	EgressDefault bool   `json:"egressDefault" doc:"The VM has no policy of its own: this is the host's default"`
	SentBytes     int64  `json:"sentBytes" doc:"By the guest, in the current run"`
	ReceivedBytes int64  `json:"receivedBytes" doc:"By the guest, in the current run"`
}

// SetIngress says who may visit what a VM serves on the web.
type SetIngress struct {
	_       struct{} `json:"-" additionalProperties:"true"`
	Private *bool    `json:"private" doc:"Only those who may use the VM, and show it by a key or token"`
}

// SetNetwork changes a VM's connection to the world, at once.
type SetNetwork struct {
	_      struct{} `json:"-" additionalProperties:"true"`
	Egress *string  `json:"egress" required:"true" nullable:"true" doc:"open, closed, or a list as in 10.1.0.0/16,*.example.com; null is the host's default"`
}
