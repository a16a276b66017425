package api

// Exec asks for a command to be run to its end. It is a script for the user's shell.
type Exec struct {
	_         struct{} `json:"-" additionalProperties:"true"`
	Command   string   `json:"command,omitempty" doc:"A script for the user's shell"`
	Terminal  *string  `json:"terminal,omitempty" doc:"Not offered yet: null"`
	TimeoutMs *int64   `json:"timeoutMs,omitempty" minimum:"1" maximum:"31536000000" doc:"After which every process of the command is killed; null is none"`
}

// An ExecResult is how a command ended and what it wrote. Of each stream the
// first 8 MiB are kept. The two Base64 members are there only if the stream is
// not valid UTF-8: they have its bytes as they were, where Stdout and Stderr
// have U+FFFD for what cannot be said.
type ExecResult struct {
	Stdout          string `json:"stdout"`
	Stderr          string `json:"stderr"`
	StatusCode      int    `json:"statusCode" doc:"The exit status, or 128 and the signal's number"`
	StdoutTruncated bool   `json:"stdoutTruncated,omitempty" doc:"The command wrote more than the 8 MiB that are kept"`
	StderrTruncated bool   `json:"stderrTruncated,omitempty" doc:"The command wrote more than the 8 MiB that are kept"`
	StdoutBase64    []byte `json:"stdoutBase64,omitempty" doc:"The exact bytes, if they are not valid UTF-8"`
	StderrBase64    []byte `json:"stderrBase64,omitempty" doc:"The exact bytes, if they are not valid UTF-8"`
	Code            string `json:"code,omitempty" doc:"EXEC_TIMED_OUT, with statusCode 124, if the timeout passed after 240 s: by then the answer has begun and its status cannot be 408 any more"`
}

// The WebSocket of an exec: the client's first message is an [ExecStart] as
// text. Then both ends send binary messages, whose first byte says which
// stream the rest belongs to, the client's only [StreamStdin]; and texts, which
// are JSON with a type.
const (
	StreamStdin  byte = 0
	StreamStdout byte = 1
	StreamStderr byte = 2

	// TypeStdinClose, from the client: stdin ends here.
	TypeStdinClose = "stdinClose"
	// TypeStdinAck, from the server: see [StdinAck].
	TypeStdinAck = "stdinAck"
	// TypeExit, from the server: see [ExecExit]. The server then closes.
	TypeExit = "exit"
	// TypeError, from the server: see [ExecError]. The server then closes.
	TypeError = "error"

	// StdinWindow is how many bytes of stdin a client may have sent and not
	// seen acknowledged. The server hears at once when a client that keeps to
	// it goes away, and kills the command; with more in flight it hears only
	// when the command has read them.
	StdinWindow = 256 << 10
)

// ExecStart asks for a command.
type ExecStart struct {
	Command   string            `json:"command"`
	User      string            `json:"user,omitempty"` // empty is the header's, or root
	Dir       string            `json:"dir,omitempty"`  // empty is the user's home
	Env       map[string]string `json:"env,omitempty"`  // added to the standard environment
	TimeoutMs int64             `json:"timeoutMs,omitempty"`
}

// ExecMessage is what every text message has.
type ExecMessage struct {
	Type string `json:"type"`
}

// StdinAck says that the command has taken that many more bytes of stdin.
type StdinAck struct {
	Type  string `json:"type"`
	Bytes int    `json:"bytes"`
}

// ExecExit says how the command ended.
type ExecExit struct {
	Type     string `json:"type"`
	Code     int    `json:"code"`
	TimedOut bool   `json:"timedOut"`
}

// ExecError says why there is no exit status.
type ExecError struct {
	Type    string `json:"type"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// A FileContent is a file.
type FileContent struct {
	_        struct{} `json:"-" additionalProperties:"true"`
	Content  string   `json:"content"`
	Encoding *string  `json:"encoding,omitempty" doc:"base64, or utf8, which is the default"`
}

// A Directory is what is in one.
type Directory struct {
	Files []DirEntry `json:"files" nullable:"false"`
}

// A DirEntry is one name in a directory.
type DirEntry struct {
	Name string `json:"name"`
	Kind string `json:"kind" enum:"file,directory"`
}

// A FileEvent is one line of a watch.
type FileEvent struct {
	EventType string `json:"eventType" enum:"create,modify,delete,rename"`
	Filename  string `json:"filename"`
}

// Ports are those of a VM on which something listens for TCP.
type Ports struct {
	Ports []Port `json:"ports" nullable:"false" doc:"By their numbers"`
}

// A Port is one on which something listens.
type Port struct {
	Port     int  `json:"port"`
	Loopback bool `json:"loopback" doc:"On the guest's loopback only"`
}
