package image

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSources(t *testing.T) {
	const signed = "deb [signed-by=" + keyring + "] "
	debian := []string{
		signed + "http://deb.debian.org/debian bookworm main",
		signed + "http://deb.debian.org/debian bookworm-updates main",
		signed + "http://deb.debian.org/debian-security bookworm-security main",
	}
	for name, test := range map[string]struct {
		targets string
		want    []string
	}{
		"the host's mirrors, and only they": {
			targets: `Debian bookworm main http://mirror.example/debian/ bookworm
Debian bookworm contrib http://mirror.example/debian/ bookworm
Debian bookworm-security main https://mirror.example/security/ bookworm-security
Debian bookworm-backports main http://mirror.example/debian/ bookworm-backports
Node nodistro main https://deb.example/node_20.x nodistro
. bookworm main http://vendor.example/apt bookworm
`,
			want: []string{
				signed + "http://mirror.example/debian/ bookworm main",
				signed + "https://mirror.example/security/ bookworm-security main",
			},
		},
		"by the name of the release, not of the suite": {
			targets: "Debian bookworm main http://mirror.example/debian/ oldstable\n",
			want:    []string{signed + "http://mirror.example/debian/ oldstable main"},
		},
		"a host of another release": {
			targets: "Debian trixie main http://mirror.example/debian/ trixie\n",
			want:    debian,
		},
		"a mirror that only this host sees": {
			targets: "Debian bookworm main file:/srv/debian/ bookworm\n",
			want:    debian,
		},
		"security updates alone": {
			targets: "Debian bookworm-security main http://mirror.example/security/ bookworm-security\n",
			want:    debian,
		},
		"a host that has no lists yet": {targets: " bookworm main http://mirror.example/debian bookworm\n", want: debian},
		"no sources":                   {want: debian},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, sources(test.targets)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAcquireOptions(t *testing.T) {
	got := acquireOptions(`APT::Architecture "amd64";
Acquire "";
Acquire::Retries "3";
Acquire::Languages "none";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::CaInfo "/etc/ssl/ours; and more.pem";
Acquire::Check-Date "false";
Acquire::httpsomething "x";
DPkg::Post-Invoke:: "rm -rf /";
`)
	want := []string{
		`Acquire::Retries "3"`,
		`Acquire::http::Proxy "http://proxy.example:3128"`,
		`Acquire::https::CaInfo "/etc/ssl/ours; and more.pem"`,
		`Acquire::Check-Date "false"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
