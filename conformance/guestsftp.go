package conformance

import (
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/pkg/sftp"

	"github.com/coppice-vm/coppice"
)

// sftpClient returns a client of the files of a user, and what ends it and
// returns how the server ended.
func (e *exam) sftpClient(t *testing.T, user string) (*sftp.Client, func() (coppice.ExecStatus, error)) {
	t.Helper()
	in, toServer := io.Pipe()
	fromServer, out := io.Pipe()
	type end struct {
		status coppice.ExecStatus
		err    error
	}
	ended := make(chan end, 1)
	go func() {
		status, err := e.Exec(t.Context(), coppice.ExecSpec{SFTP: true, User: user}, coppice.Stdio{Stdin: in, Stdout: out})
		out.CloseWithError(io.EOF)
		ended <- end{status, err}
	}()
	client, err := sftp.NewClientPipe(fromServer, toServer)
	must(t, err)
	return client, func() (coppice.ExecStatus, error) {
		client.Close()
		end := <-ended
		return end.status, end.err
	}
}

func testSFTP(t *testing.T, e *exam) {
	client, end := e.sftpClient(t, e.User)
	write(t, e.Files(e.User), "note", "from outside")
	f, err := client.Open("note")
	must(t, err)
	content, err := io.ReadAll(f)
	must(t, errors.Join(err, f.Close()))
	if string(content) != "from outside" {
		t.Errorf("by SFTP the file reads %q", content)
	}
	f, err = client.Create(e.Home + "/answer")
	must(t, err)
	_, err = f.Write([]byte("from a client"))
	must(t, errors.Join(err, f.Close()))
	if _, got := read(t, e.Files(e.User), "answer"); got != "from a client" {
		t.Errorf("what was written by SFTP reads %q", got)
	}
	if _, err := client.Open("nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open of what is not there: %v, want ErrNotExist", err)
	}
	if status, err := end(); err != nil || status.Code != 0 {
		t.Errorf("it ended with %+v, %v", status, err)
	}
	_, err = e.Exec(t.Context(), coppice.ExecSpec{SFTP: true, User: "nobody-known"}, coppice.Stdio{})
	if !errors.Is(err, coppice.ErrNoUser) {
		t.Errorf("files of nobody: %v, want ErrNoUser", err)
	}
}
