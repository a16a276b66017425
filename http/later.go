package http

import (
	"net/http"

	"github.com/coppice-vm/coppice"
)

// notOffered are the routes of the contract that are not built yet. They say
// so, with a code the contract's clients know, and never pretend.
func (s *Server) notOffered() []route {
	var routes []route
	for _, n := range []struct{ method, path, what string }{
		{"GET", "/v1/vms/{vm_id}/build", "builds"},
		{every, "/v1/vms/{vm_id}/terminals", "terminals"},
		{every, "/v1/vms/{vm_id}/terminals/*", "terminals"},
		{every, "/v1/vms/{vm_id}/systemd/*", "systemd services through the API"},
		{"POST", "/v1/vms/snapshots", "building a snapshot from a specification"},
		{every, "/v1/vms/builds/*", "builds"},
		{every, "/v1/vpcs", "private networks"},
		{every, "/v1/vpcs/*", "private networks"},
		{every, "/v1/cron/*", "schedules"},
		{every, "/identity/v1/identities/{identity}/permissions/git", "git repositories"},
		{every, "/identity/v1/identities/{identity}/permissions/git/*", "git repositories"},
		{every, "/auth/v1/background-requests/*", "background requests"},
		{every, "/observability/v1/*", "logs through the API, other than a VM's console"},
		{every, "/domains/v1/*", "the verification of names, which need none here: map them"},
		{every, "/dns/v1/*", "DNS records"},
		{every, "/git/v1/*", "git repositories"},
		{every, "/web/v1/*", "deployments"},
		{every, "/execute/*", "serverless runs"},
	} {
		refuse := func(http.ResponseWriter, *http.Request, caller) error {
			return at(http.StatusNotImplemented, coppice.Errorf(coppice.CodeUnavailable, "this host does not offer %s yet", n.what))
		}
		routes = append(routes, route{method: n.method, path: n.path, who: owner, summary: n.what, bind: plain(refuse, nil)})
	}
	return routes
}
