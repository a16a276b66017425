package host

import (
	"errors"
	"net"
	"os"
)

// Notify tells whoever started this process what it is doing, in the words of
// sd_notify(3): "READY=1", "STATUS=...". It does nothing if nobody asked.
func Notify(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return errors.Join(err, conn.Close())
}
