package image

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// suite is the Debian release of the guests.
const suite = "bookworm"

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// debootstrap installs the recipe's packages into root, a new directory, and
// runs the recipe's script customize on it.
func debootstrap(ctx context.Context, root, customize string, log *os.File) error {
	names, err := packages()
	if err != nil {
		return err
	}
	targets, err := output(ctx, "apt-get", "indextargets", "--format",
		"$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI) $(RELEASE)", "Created-By: Packages")
	if err != nil {
		return err
	}
	config, err := output(ctx, "apt-config", "dump")
	if err != nil {
		return err
	}
	args := []string{
		"--mode=root", "--variant=minbase", "--include=" + strings.Join(names, ","),
		"--dpkgopt=force-unsafe-io", // nothing of a build that the host's crash ends is used
		"--customize-hook=" + customize,
	}
	for _, option := range acquireOptions(config) {
		args = append(args, "--aptopt="+option)
	}
	args = append(args, suite, root)
	return run(ctx, log, "mmdebstrap", append(args, sources(targets)...)...)
}

// sources returns lines for a sources.list with the mirrors that the host uses
// for [suite], or Debian's own if the host is of another release. targets is
// what "apt-get indextargets" says.
func sources(targets string) []string {
	line := func(uri, release string) string {
		return fmt.Sprintf("deb [signed-by=%s] %s %s main", keyring, uri, release)
	}
	var lines []string
	complete := false
	for target := range strings.Lines(targets) {
		f := strings.Fields(target)
		if len(f) != 5 || f[0] != "Debian" || f[2] != "main" || !strings.HasPrefix(f[3], "http") {
			continue
		}
		if codename := f[1]; codename == suite || codename == suite+"-updates" || codename == suite+"-security" {
			lines = append(lines, line(f[3], f[4]))
			complete = complete || codename == suite
		}
	}
	if !complete {
		return []string{
			line("http://deb.debian.org/debian", suite),
			line("http://deb.debian.org/debian", suite+"-updates"),
			line("http://deb.debian.org/debian-security", suite+"-security"),
		}
	}
	return lines
}

// acquireOptions returns the options of the host's apt that say how to reach
// mirrors: proxies and the like. config is what "apt-config dump" says.
func acquireOptions(config string) []string {
	var options []string
	for line := range strings.Lines(config) {
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, " ")
		reach := slices.ContainsFunc([]string{"http::", "https::", "Check-", "Retries"}, func(prefix string) bool {
			return strings.HasPrefix(name, "Acquire::"+prefix)
		})
		if reach && value != `"";` {
			options = append(options, strings.TrimSuffix(line, ";"))
		}
	}
	return options
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), nil
}
