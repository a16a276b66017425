package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"time"
)

// A daemonLog is the file that the daemon of this machine logs to; none if
// it is empty. The API does not say how long a parent was paused, the log does.
type daemonLog string

// end returns how much has been logged.
func (l daemonLog) end() int64 {
	info, err := os.Stat(string(l))
	if err != nil {
		return 0
	}
	return info.Size()
}

// pauses returns how long the captures of a VM paused it that were logged since.
func (l daemonLog) pauses(since int64, vm string) ([]time.Duration, error) {
	if l == "" {
		return nil, nil
	}
	f, err := os.Open(string(l))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	logged, err := io.ReadAll(io.NewSectionReader(f, since, 1<<40))
	if err != nil {
		return nil, err
	}
	var pauses []time.Duration
	for line := range bytes.Lines(logged) {
		if d, ok := pauseIn(line, vm); ok {
			pauses = append(pauses, d)
		}
	}
	return pauses, nil
}

var textCapture = regexp.MustCompile(` msg=captured vm=(\S+) pause=(\S+) .*error=<nil>`)

// pauseIn reads a line of the log, in either of its formats, that tells of a
// capture of a VM that succeeded.
func pauseIn(line []byte, vm string) (time.Duration, bool) {
	if m := textCapture.FindSubmatch(line); m != nil && string(m[1]) == vm {
		d, err := time.ParseDuration(string(m[2]))
		return d, err == nil
	}
	var entry struct {
		Msg, VM string
		Pause   time.Duration
		Error   any
	}
	err := json.Unmarshal(line, &entry)
	return entry.Pause, err == nil && entry.Msg == "captured" && entry.VM == vm && entry.Error == nil
}
