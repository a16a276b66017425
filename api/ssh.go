package api

// SSHGateway is where SSH is served, and by what key it is known.
type SSHGateway struct {
	Host    string `json:"host" doc:"Empty if it is the API's"`
	Port    int    `json:"port"`
	HostKey string `json:"hostKey" doc:"As in a file of known hosts: type and key"`
}
