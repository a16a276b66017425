package mem

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"github.com/pkg/sftp"

	"github.com/coppice-vm/coppice"
)

// serveSFTP serves files of a guest, until the client has no more to say or
// ctx ends. It knows how to read files and to write them.
func (s *guestSession) serveSFTP(ctx context.Context, user string, stdio coppice.Stdio) error {
	dir, err := home(user)
	if err != nil {
		return err
	}
	fromClient, in := io.Pipe()
	go func() {
		_, err := io.Copy(in, stdio.Stdin)
		in.CloseWithError(err)
	}()
	defer context.AfterFunc(ctx, func() { in.CloseWithError(ctx.Err()) })()
	h := sftpHandler{s.disk}
	server := sftp.NewRequestServer(struct {
		io.Reader
		io.Writer
		io.Closer
	}{fromClient, stdio.Stdout, fromClient}, sftp.Handlers{FileGet: h, FilePut: h, FileCmd: h, FileList: h}, sftp.WithStartDirectory(dir))
	if err := server.Serve(); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

type sftpHandler struct{ disk *tree }

func (h sftpHandler) Fileread(r *sftp.Request) (io.ReaderAt, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	n, err := h.disk.get(r.Filepath)
	return bytes.NewReader(n.content), err
}

func (h sftpHandler) Filewrite(r *sftp.Request) (io.WriterAt, error) {
	return &sftpFile{disk: h.disk, name: r.Filepath}, nil
}

func (sftpHandler) Filecmd(*sftp.Request) error { return sftp.ErrSSHFxOpUnsupported }

func (sftpHandler) Filelist(*sftp.Request) (sftp.ListerAt, error) {
	return nil, sftp.ErrSSHFxOpUnsupported
}

// An sftpFile is a file that is being written, one piece after the other.
type sftpFile struct {
	disk    *tree
	name    string
	content []byte
}

func (f *sftpFile) WriteAt(p []byte, offset int64) (int, error) {
	if offset != int64(len(f.content)) {
		return 0, os.ErrInvalid
	}
	f.content = append(f.content, p...)
	return len(p), nil
}

func (f *sftpFile) Close() error { return f.disk.put(f.name, 0o644, f.content) }
