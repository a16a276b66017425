package http

import (
	"context"
	"encoding/json"
	"io/fs"
	"net/http"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// watchFiles reports changes below the user's home as lines of JSON, until the
// client leaves or the VM is suspended: a watch by itself keeps no VM awake.
func (s *Server) watchFiles(w http.ResponseWriter, r *http.Request, who caller) error {
	session, release, err := s.use(r.Context(), who, r.PathValue("vm_id"), "files")
	if err != nil {
		return err
	}
	defer release()
	files := session.Files(r.Header.Get(api.HeaderLinuxUser))
	// Once the stream has begun it is too late to refuse.
	if err := isDirectory(r.Context(), files, ""); err != nil {
		return fileError(err, "the home directory")
	}
	ctx, cancel := s.whileServing(r.Context())
	defer cancel()

	w.Header().Set("Content-Type", "application/x-ndjson")
	events := make(chan coppice.FileEvent)
	ended := make(chan error, 1)
	go func() {
		ended <- files.Watch(ctx, "", func(e coppice.FileEvent) {
			select {
			case events <- e:
			case <-ctx.Done():
			}
		})
	}()
	heartbeat := time.NewTicker(heartbeatInterval)
	defer heartbeat.Stop()
	release()
	err = writeLine(w, nil)
	for err == nil {
		select {
		case e := <-events:
			s.config.VMs.Touch(coppice.VMID(r.PathValue("vm_id")))
			var line []byte
			if line, err = json.Marshal(api.FileEvent{EventType: e.Type, Filename: e.Name}); err == nil {
				err = writeLine(w, line)
			}
		case <-heartbeat.C:
			err = writeLine(w, nil)
		case err := <-ended:
			return endOf(ctx, err)
		}
	}
	cancel()
	<-ended
	return err
}

func isDirectory(ctx context.Context, files coppice.GuestFiles, name string) error {
	file, err := files.Open(ctx, name)
	if err != nil || file.Dir {
		return err
	}
	file.Content.Close()
	return fs.ErrInvalid
}
