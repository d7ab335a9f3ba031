package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-sdk-go/pkg/core/config/lookup"
)

const emitted = `client: {organization: Org1}
organizations:
  Org1: {mspid: Org1MSP, cryptoPath: "users/{username}/msp", peers: [peer0.org1.example.com], certificateAuthorities: [ca.org1.example.com]}
certificateAuthorities:
  ca.org1.example.com: {url: "https://127.0.0.1:7054", caName: ca}
`

func readText(t *testing.T, text string) (profile, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "profile.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return readProfile(file)
}

// TestProfileIsCompleted: what the application adds reaches the SDK, and what was there stays.
func TestProfileIsCompleted(t *testing.T) {
	p, err := readText(t, emitted)
	if err != nil {
		t.Fatal(err)
	}
	p.keepIn("/scratch")
	if err := p.registerAs(identity{name: "reception", certificate: "CERT", key: "KEY"}); err != nil {
		t.Fatal(err)
	}
	provider, err := p.config()
	if err != nil {
		t.Fatal(err)
	}
	backends, err := provider()
	if err != nil {
		t.Fatal(err)
	}
	seen := lookup.New(backends...)
	for key, want := range map[string]any{
		"client.organization": "Org1", "client.credentialStore.path": "/scratch", "client.credentialStore.cryptoStore.path": "/scratch",
		"organizations.org1.mspid": "Org1MSP", "organizations.org1.users.reception.cert.pem": "CERT", "organizations.org1.users.reception.key.pem": "KEY",
	} {
		if got, _ := seen.Lookup(key); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	// The SDK divides keys at dots, which the names of CAs hold: sections are read as a whole.
	authorities, _ := seen.Lookup("certificateAuthorities")
	ca, _ := authorities.(map[string]any)["ca.org1.example.com"].(map[string]any)
	if registrar, _ := ca["registrar"].(map[string]any); ca["caname"] != "ca" || registrar["enrollid"] != "reception" {
		t.Errorf("the CA is %v", ca)
	}
}

func TestProfileFailures(t *testing.T) {
	for _, text := range []string{"", "client: {}", "client: {organization: Org1}", "organizations: {Org1: {mspid: Org1MSP}}"} {
		if _, err := readText(t, text); err == nil || !strings.Contains(err.Error(), "which organization") {
			t.Errorf("%q gives %v", text, err)
		}
	}
	p, err := readText(t, "client: {organization: Org1}\norganizations: {Org1: {mspid: Org1MSP}}\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.registerAs(identity{name: "reception"}); err == nil {
		t.Error("a profile without a CA can register")
	}
}

// TestSkipped: what is not asked for is said to be skipped, with the reason.
func TestSkipped(t *testing.T) {
	r := &report{Skipped: map[string]string{}}
	if err := r.enroll(nil, settings{}); err != nil {
		t.Fatal(err)
	}
	if err := r.installed(nil, nil, settings{}); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"registration", "enrolment", "installed"} {
		if r.Skipped[what] == "" {
			t.Errorf("%s is not said to be skipped", what)
		}
	}
}
