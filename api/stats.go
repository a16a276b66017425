package api

import "time"

// Stats are what a VM takes of its host at a moment. What it has done and sent
// counts from where its current run began: a new instanceId begins at zero. Of a
// VM that does not run it is zero.
type Stats struct {
	VMID       string    `json:"vmId"`
	At         time.Time `json:"at"`
	State      State     `json:"state"`
	InstanceID string    `json:"instanceId,omitempty"`
	CPU        struct {
		Count       int     `json:"count" doc:"Virtual CPUs"`
		UsedSeconds float64 `json:"usedSeconds" doc:"Processor time of the host's"`
	} `json:"cpu"`
	Memory struct {
		SizeBytes int64 `json:"sizeBytes" doc:"What the guest has"`
		Footprint
	} `json:"memory"`
	Disk struct {
		SizeBytes int64 `json:"sizeBytes" doc:"What the guest has"`
		Footprint
		ReadBytes    int64 `json:"readBytes" doc:"From storage, also memory that is read as it is touched"`
		WrittenBytes int64 `json:"writtenBytes"`
	} `json:"disk"`
	Network struct {
		SentBytes     int64 `json:"sentBytes" doc:"By the guest"`
		ReceivedBytes int64 `json:"receivedBytes" doc:"By the guest"`
	} `json:"network"`
}
