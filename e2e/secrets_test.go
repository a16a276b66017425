package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice/api"
)

// Whatever secrets are used for, and however clumsily, they are in no log, on
// no command line and in no file but the one that is for the host's own key;
// and what is secret of the host's is readable by its owner only.
func TestSecretsStaySecret(t *testing.T) {
	t.Setenv("COPPICE_LOG_LEVEL", "debug")
	restartDaemon(t) // which now logs all that it ever does
	t.Cleanup(func() {
		os.Unsetenv("COPPICE_LOG_LEVEL")
		if out, err := exec.Command(install.program, "up").CombinedOutput(); err != nil {
			t.Errorf("up: %v\n%s", err, out)
		}
	})
	credentials, err := install.data.ReadCredentials()
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t)
	vm := create(t, c)
	host := person{t: t}
	identity := host.does("identity", "create")
	host.does("identity", "grant", identity, vm)
	token := host.does("identity", "token", identity)
	var key api.CreatedKey
	if err := json.Unmarshal([]byte(host.does("keys", "create", "laptop", "--json")), &key); err != nil || key.Secret == "" {
		t.Fatalf("a key: %+v, %v", key, err)
	}
	account := "secretive"
	other := host.does("account", "create", account)
	wrong := key.Secret[:len(key.Secret)-4] + "oops" // not a secret yet, but maybe a typing error away from one
	secrets := map[string]string{
		"the host's key": credentials.Key, "a key": key.Secret, "another account's key": other, "a token": token, "a wrong key": wrong,
	}

	host.does("ingress", vm, "private")
	for _, secret := range secrets {
		use(t, vm, secret)
		signIn(t, vm, secret, secret != other && secret != wrong)
		if secret != other && secret != wrong {
			running := person{t, secret}.begin(vm, "root", "sleep 1000")
			onCommandLines(t, secrets)
			sh(t, c, vm, "pkill -x sleep || true")
			running()
		}
	}
	useBySSH(t, vm, secrets)
	host.does("keys", "revoke", key.ID)
	use(t, vm, key.Secret)
	host.does("account", "delete", account)
	killDaemon(t) // with all that it has in its hands
	restartDaemon(t)

	data := string(install.data)
	sealing, err := os.ReadFile(install.data.Sessions())
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range secrets {
		for _, file := range holding(t, data, secret) {
			if file != install.data.Credentials() || secret != credentials.Key {
				t.Errorf("%s is in %s", name, file)
			}
		}
	}
	for _, name := range []string{install.data.Credentials(), install.data.SSHHostKey(), install.data.CA(), install.data.Sessions(), install.data.Database(), install.data.Log()} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if private, err := os.ReadFile(install.data.SSHHostKey()); err != nil || len(holding(t, data, string(private))) != 1 {
		t.Errorf("the gateway's key is elsewhere, too: %v", err)
	}
	if files := holding(t, data, string(sealing)); len(files) != 1 {
		t.Errorf("the key that sessions are sealed with is in %q", files)
	}
}

// signIn has a browser show a secret to a private VM, and use what it gets for it.
func signIn(t *testing.T, vm, secret string, known bool) {
	t.Helper()
	at := ingressURL(vm, 3000)
	browser := *ingressClient
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := browser.PostForm(at+"/.coppice/sign-in", url.Values{"secret": {secret}, "to": {"/"}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if signedIn := resp.StatusCode == http.StatusSeeOther; signedIn != known {
		t.Fatalf("signing in is answered %s", resp.Status)
	}
	if said := fmt.Sprint(resp.Header); strings.Contains(said, secret) {
		t.Errorf("signing in is answered with the secret: %s", said)
	}
	req, err := http.NewRequestWithContext(deadline(t), "GET", at, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, cookie := range resp.Cookies() {
		req.AddCookie(cookie)
	}
	if resp, err = browser.Do(req); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if in := resp.StatusCode != http.StatusUnauthorized; in != known {
		t.Errorf("who has signed in is answered %s", resp.Status)
	}
}

// use tries everything that takes a secret with one, in the places where it
// belongs and in those where people put it by mistake.
func use(t *testing.T, vm, secret string) {
	t.Helper()
	credentials, err := install.data.ReadCredentials()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/auth/v1/whoami", "/v1/vms", "/v1/vms/" + vm, "/v1/vms/" + vm + "/files/root", "/v1/vms/" + vm + "/pty", "/nowhere",
		"/v1/vms?key=" + url.QueryEscape(secret), "/v1/vms?access_token=" + url.QueryEscape(secret),
	} {
		for _, header := range []http.Header{
			{"Authorization": {"Bearer " + secret}},
			{"Authorization": {secret}},
			{"Authorization": {"Basic " + secret}},
			{api.HeaderAccessToken: {secret}},
			{"Cookie": {"key=" + secret}},
		} {
			req, err := http.NewRequestWithContext(deadline(t), "GET", credentials.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = header
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || bytes.Contains(body, []byte(secret)) {
				t.Errorf("GET %s answers with the secret, or %v: %s", path, err, body)
			}
		}
	}
}

// useBySSH logs in by OpenSSH with each secret as the password, and by the program itself.
func useBySSH(t *testing.T, vm string, secrets map[string]string) {
	t.Helper()
	u := newSSHUser(t)
	for name, secret := range secrets {
		u.password = secret
		out, err := u.command("ssh", u.at(vm), "true").CombinedOutput()
		if refused := name == "a wrong key" || name == "another account's key"; (err != nil) != refused {
			t.Errorf("ssh with %s: %v, %s", name, err, out)
		}
	}
	easy := exec.CommandContext(deadline(t), install.program, "ssh", vm, "--", "echo in; cat")
	easy.Env = append(os.Environ(), "HOME="+u.dir)
	in, err := easy.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := easy.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := easy.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "in\n" {
		t.Errorf("coppice ssh: %q, %v", line, err)
	}
	onCommandLines(t, secrets)
	in.Close()
	if err := easy.Wait(); err != nil {
		t.Errorf("coppice ssh: %v", err)
	}
}

// onCommandLines fails the test if a secret is on the command line of a process.
func onCommandLines(t *testing.T, secrets map[string]string) {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(commands) == 0 {
		t.Fatalf("no processes: %v", err)
	}
	for _, name := range commands {
		line, _ := os.ReadFile(name) // it may have ended
		for what, secret := range secrets {
			if bytes.Contains(line, []byte(secret)) {
				t.Errorf("%s is on a command line: %q", what, line)
			}
		}
	}
}

// holding lists the files in dir that have a text in them. What is in VMs and in
// images is theirs.
func holding(t *testing.T, dir, text string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == install.data.Pool(), name == install.data.Networks(): // the latter are no files
			return fs.SkipDir
		case !entry.Type().IsRegular() || entry.Name() == "pool.xfs":
			return nil
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if bytes.Contains(content, []byte(strings.TrimSpace(text))) {
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
