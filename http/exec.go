package http

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// outputLimit is how much of each of a command's streams is kept.
const outputLimit = 8 << 20

type execInput struct {
	VMID string `path:"vm_id" doc:"20 characters of a-z and 0-9"`
	User string `header:"X-Freestyle-Vm-Linux-User-Id" doc:"User of the guest to act as; root if absent"`
	Body api.Exec
}

func (s *Server) execAwait(w http.ResponseWriter, r *http.Request, who caller, in *execInput) error {
	if in.Body.Terminal != nil && *in.Body.Terminal != "" {
		return coppice.Errorf(coppice.CodeInvalidRequest, "this host does not offer terminals yet: leave terminal out, or null")
	}
	spec := coppice.ExecSpec{Command: in.Body.Command, User: in.User}
	if in.Body.TimeoutMs != nil {
		spec.Timeout = time.Duration(*in.Body.TimeoutMs) * time.Millisecond
	}
	if err := checkCommand(spec); err != nil {
		return err
	}
	session, release, err := s.use(r.Context(), who, in.VMID, "exec")
	if err != nil {
		return err
	}
	defer release()
	var out output
	patience := keepWaiting(w)
	status, err := session.Exec(r.Context(), spec, coppice.Stdio{Stdout: &out.stdout, Stderr: &out.stderr})
	patience.stop()
	switch {
	case err != nil:
		return startError(err, "the command")
	case status.TimedOut:
		return writeTimeout(w, &out, spec.Timeout)
	}
	w.Header().Set("Content-Type", "application/json")
	return out.writeJSON(w, statusMembers{StatusCode: status.Code})
}

func checkCommand(spec coppice.ExecSpec) error {
	if strings.TrimSpace(spec.Command) == "" {
		return coppice.Errorf(coppice.CodeExecEmpty, "there is no command to run")
	}
	return nil
}

// statusMembers are the small members of an [api.ExecResult].
type statusMembers struct {
	StatusCode int          `json:"statusCode"`
	Code       coppice.Code `json:"code,omitempty"`
}

// writeTimeout says that a command took too long, with what it wrote until then.
func writeTimeout(w http.ResponseWriter, out *output, timeout time.Duration) error {
	if answered(w) {
		return out.writeJSON(w, statusMembers{StatusCode: 124, Code: coppice.CodeExecTimedOut})
	}
	f := translate(coppice.Errorf(coppice.CodeExecTimedOut, "the command did not end within %v and was killed", timeout).
		With("timeoutMs", timeout.Milliseconds()))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	return out.writeJSON(w, f)
}

// An output is what a command has written, as far as it is kept.
type output struct{ stdout, stderr capped }

// writeJSON writes head, a JSON object that is not empty, with the output's
// members added. It does so piece by piece: the JSON of a large output is larger.
func (o *output) writeJSON(w io.Writer, head any) error {
	b, err := json.Marshal(head)
	if err != nil {
		return err
	}
	bw := bufio.NewWriterSize(w, 64<<10)
	bw.Write(bytes.TrimSuffix(b, []byte("}"))) // errors stay with bw until Flush
	o.stdout.writeMembers(bw, "stdout")
	o.stderr.writeMembers(bw, "stderr")
	bw.WriteString("}\n")
	return bw.Flush()
}

// A capped keeps the start of what is written to it.
type capped struct {
	buf       bytes.Buffer
	truncated bool
}

func (c *capped) Write(p []byte) (int, error) {
	keep := p[:min(len(p), outputLimit-c.buf.Len())]
	c.truncated = c.truncated || len(keep) < len(p)
	c.buf.Write(keep)
	return len(p), nil
}

// writeMembers writes the members of an [api.ExecResult] that are about one stream.
func (c *capped) writeMembers(w *bufio.Writer, name string) {
	text := c.buf.Bytes()
	if c.truncated {
		text = wholeRunes(text)
		w.WriteString(`,"` + name + `Truncated":true`)
	}
	w.WriteString(`,"` + name + `":"`)
	writeEscaped(w, text)
	w.WriteByte('"')
	if !utf8.Valid(text) {
		w.WriteString(`,"` + name + `Base64":"`)
		enc := base64.NewEncoder(base64.StdEncoding, w)
		enc.Write(c.buf.Bytes())
		enc.Close()
		w.WriteByte('"')
	}
}

// wholeRunes returns b without a rune that was cut at its end.
func wholeRunes(b []byte) []byte {
	for cut := 1; cut < utf8.UTFMax && cut <= len(b); cut++ {
		if tail := b[len(b)-cut:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return b[:len(b)-cut]
			}
			break
		}
	}
	return b
}

// writeEscaped writes text as the inside of a JSON string. What is not UTF-8
// becomes U+FFFD.
func writeEscaped(w *bufio.Writer, text []byte) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	for len(text) > 0 {
		piece := text
		if const16k := 16 << 10; len(text) > const16k {
			piece = wholeRunes(text[:const16k])
		}
		buf.Reset()
		_ = enc.Encode(string(piece)) // a string always has a JSON form
		w.Write(buf.Bytes()[1 : buf.Len()-2])
		text = text[len(piece):]
	}
}
