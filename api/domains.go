package api

import "time"

// MapDomain asks for a host name to lead to a port of a VM.
type MapDomain struct {
	_            struct{} `json:"-" additionalProperties:"true"`
	Domain       *string  `json:"domain,omitempty" doc:"The same as in the path"`
	VMID         *string  `json:"vmId,omitempty" doc:"The VM that it leads to; required"`
	VMPort       *int     `json:"vmPort,omitempty" minimum:"1" maximum:"65535" doc:"443 by default"`
	DeploymentID *string  `json:"deploymentId,omitempty" doc:"This host has no deployments"`
}

// A Mapping has a host name lead to a port of a VM.
type Mapping struct {
	ID           string    `json:"id" doc:"The name: it has one mapping"`
	Domain       string    `json:"domain"`
	DeploymentID *string   `json:"deploymentId"`
	VMID         string    `json:"vmId"`
	VMPort       int       `json:"vmPort"`
	OwnershipID  string    `json:"ownershipId" doc:"The account whose name it is"`
	CreatedAt    time.Time `json:"createdAt"`
}

// A Domain is a host name that is to lead to a new VM.
type Domain struct {
	_      struct{} `json:"-" additionalProperties:"true"`
	Domain string   `json:"domain"`
	VMPort *int     `json:"vmPort,omitempty" minimum:"1" maximum:"65535" doc:"443 by default"`
}
