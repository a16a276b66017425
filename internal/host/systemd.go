package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A unit is a systemd service that serves a data directory.
type unit struct {
	name string // "coppice.service"
	file string
}

// unit returns the unit of the data directory. Each has one of its own.
func (d Dir) unit() unit {
	name := "coppice.service"
	if d != DefaultDir {
		// As systemd-escape --path does, so that no two directories share a name.
		escaped := strings.ReplaceAll(strings.Trim(string(d), "/"), "-", `\x2d`)
		name = "coppice-" + strings.ReplaceAll(escaped, "/", "-") + ".service"
	}
	return unit{name: name, file: filepath.Join("/etc/systemd/system", name)}
}

// booted reports whether systemd runs this machine; see sd_booted(3).
func booted() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

// start installs the unit, so that the machine's boot starts it too, and
// returns when the command line args is ready.
func (u unit) start(ctx context.Context, d Dir, args []string) error {
	text := []byte(u.text(d, args))
	if old, err := os.ReadFile(u.file); err != nil || !bytes.Equal(old, text) {
		if err := os.WriteFile(u.file, text, 0o644); err != nil {
			return err
		}
		if err := systemctl(ctx, "daemon-reload"); err != nil {
			return err
		}
	}
	if err := systemctl(ctx, "enable", u.name); err != nil {
		return err
	}
	err := systemctl(ctx, "restart", u.name) // waits for READY=1
	if err != nil {
		// Else systemd would try for ever what has just been said to have failed.
		err = errors.Join(err, systemctl(context.WithoutCancel(ctx), "stop", u.name))
	}
	return err
}

// stop returns when the unit has stopped. nil if it is not installed.
func (u unit) stop(ctx context.Context) error {
	if !u.installed() {
		return nil
	}
	return systemctl(ctx, "stop", u.name)
}

// remove stops the unit and removes it. nil if it is not installed.
func (u unit) remove(ctx context.Context) error {
	if !u.installed() {
		return nil
	}
	return errors.Join(
		systemctl(ctx, "disable", "--now", u.name),
		os.Remove(u.file),
		systemctl(ctx, "daemon-reload"),
	)
}

func (u unit) installed() bool {
	_, err := os.Stat(u.file)
	return err == nil
}

// text is the unit's file. KillMode=process: the VMs are not the daemon's to end.
// The accounting, and the weight that all units have, make systemd provide the
// controllers that limit VMs, which have their groups beside the unit.
func (u unit) text(d Dir, args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = `"` + unitEscape.Replace(a) + `"`
	}
	return fmt.Sprintf(`[Unit]
Description=coppice, keeper of virtual machines (%[1]s)
After=network.target local-fs.target

[Service]
Type=notify
ExecStart=%[2]s
KillMode=process
CPUWeight=100
MemoryAccounting=yes
TasksAccounting=yes
IOAccounting=yes
Restart=on-failure
TimeoutStartSec=120
StandardOutput=append:%[3]s
StandardError=append:%[3]s

[Install]
WantedBy=multi-user.target
`, strings.ReplaceAll(string(d), "%", "%%"), strings.Join(quoted, " "), strings.ReplaceAll(d.Log(), "%", "%%"))
}

// unitEscape escapes what means something inside the quotes of an ExecStart.
var unitEscape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, `$`, `$$`)

func systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
