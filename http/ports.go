package http

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// ports lists what of a running VM listens for TCP. One that sleeps is not woken
// for that.
func (s *Server) ports(w http.ResponseWriter, r *http.Request, who caller) error {
	id, err := parseVMID(r.PathValue("vm_id"))
	if err != nil {
		return err
	}
	vm, err := s.config.VMs.VM(r.Context(), who.Account, id)
	if err != nil {
		return err
	}
	if vm.State != coppice.Running {
		return coppice.Errorf(coppice.CodeVMNotRunning, "VM %s is %s: nothing listens in it", id, vm.State).With("vmId", id)
	}
	session, release, err := s.use(r.Context(), who, string(id), "ports")
	if err != nil {
		return err
	}
	defer release()
	files := session.Files(r.Header.Get(api.HeaderLinuxUser))
	list := api.Ports{Ports: []api.Port{}}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		ports, err := listeners(r.Context(), files, table)
		if err != nil {
			return fileError(err, table)
		}
		list.Ports = append(list.Ports, ports...)
	}
	list.Ports = merged(list.Ports)
	return writeJSON(w, list)
}

// listeners reads one of the kernel's tables of sockets.
func listeners(ctx context.Context, files coppice.GuestFiles, table string) ([]api.Port, error) {
	file, err := files.Open(ctx, table)
	if errors.Is(err, fs.ErrNotExist) { // a guest without IPv6
		return nil, nil
	}
	if err != nil || file.Dir {
		return nil, err
	}
	defer file.Content.Close()
	const most = 4 << 20 // a guest may say what it likes
	var ports []api.Port
	lines := bufio.NewScanner(io.LimitReader(file.Content, most))
	for lines.Scan() {
		if port, ok := listener(lines.Text()); ok {
			ports = append(ports, port)
		}
	}
	return ports, lines.Err()
}

// listener reads a line like
//
//	0: 0100007F:1F90 00000000:0000 0A ...
func listener(line string) (api.Port, bool) {
	const listening = "0A"
	fields := strings.Fields(line)
	if len(fields) < 4 || fields[3] != listening {
		return api.Port{}, false
	}
	host, number, _ := strings.Cut(fields[1], ":")
	port, err := strconv.ParseUint(number, 16, 16)
	b, hexErr := hex.DecodeString(host)
	if err != nil || hexErr != nil || len(b)%4 != 0 {
		return api.Port{}, false
	}
	for word := range slices.Chunk(b, 4) {
		slices.Reverse(word) // the kernel prints words as the processor has them
	}
	address, ok := netip.AddrFromSlice(b)
	return api.Port{Port: int(port), Loopback: address.Unmap().IsLoopback()}, ok
}

// merged has each port once, in order. One that is open to the network is.
func merged(ports []api.Port) []api.Port {
	slices.SortFunc(ports, func(a, b api.Port) int {
		switch {
		case a.Port != b.Port || a.Loopback == b.Loopback:
			return a.Port - b.Port
		case a.Loopback:
			return 1
		}
		return -1
	})
	return slices.CompactFunc(ports, func(a, b api.Port) bool { return a.Port == b.Port })
}
