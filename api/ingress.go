package api

// Ingress says where the ports of VMs are by HTTP.
type Ingress struct {
	URL      string `json:"url,omitempty" doc:"Of a port of a VM, with {port} and {vm} to be filled in"`
	HTTPSURL string `json:"httpsUrl,omitempty" doc:"The same by HTTPS"`
	CA       string `json:"ca,omitempty" doc:"Who signs its certificates, in PEM; absent if everybody trusts them anyway"`
}
