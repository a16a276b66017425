package api

// Ingress says where the ports of VMs are by HTTP.
type Ingress struct {
	URL string `json:"url" doc:"Of a port of a VM, with {port} and {vm} to be filled in"`
}
