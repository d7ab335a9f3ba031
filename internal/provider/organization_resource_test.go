package provider

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// TestAccOrganization: what becomes of organizations whose keys are gone, and a partner's.
func TestAccOrganization(t *testing.T) {
	name := networkName(t)
	sweepNetwork(t, name)
	server := &caServer{t: t, network: name, name: "ca.org1"}
	seen := &remembered{t: t}
	a := authority{network: name, directory: t.TempDir() + "/bob", ofCA: "deletion_protection = false"}
	partner := a.String() + `
resource "fabric_organization" "partner" {
  msp_id  = "PartnerMSP"
  network = fabric_network.this.handle
  certificates = {
    root     = fabric_organization.org1.definition.root_certificates
    tls_root = fabric_organization.org1.definition.tls_root_certificates
  }
}
`
	const partnerAddress = "fabric_organization.partner"
	lose := func() {
		volume := name + "-Org1MSP-keys"
		removeNodes(t, func(n engine.Node) bool { return n.Name == volume })
		removeVolume(t, volume)
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{
				Config: partner,
				Check: resource.ComposeAggregateTestCheckFunc(
					resource.TestCheckResourceAttr(partnerAddress, "definition.msp_id", "PartnerMSP"),
					resource.TestCheckNoResourceAttr(partnerAddress, "admin_certificate"),
					seen.take("admin", organizationAddress, "admin_certificate"), seen.take("alice", aliceAddress, "certificate"),
				),
			},
			{ResourceName: partnerAddress, ImportState: true, ImportStateId: name + "/PartnerMSP", ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "msp_id"},
			{ // the certificates of a partner that make no MSP
				Config: strings.ReplaceAll(partner, "root     = fabric_organization.org1.definition.root_certificates",
					"root     = [fabric_organization.org1.admin_certificate]"),
				ExpectError: tells("Certificates that make no MSP", "certificates"),
			},
			{ // another organization of the same CA
				Config: a.String() + `
resource "fabric_organization" "org2" {
  msp_id = "Org2MSP"
  ca     = fabric_ca.org1.handle
}
`,
				ExpectError: tells("CA used twice", "CA ca.org1 issues the certificates of organization Org"),
			},
			{ // keys that are gone are not made again, and nothing is planned
				PreConfig:        lose,
				Config:           a.String(),
				ConfigPlanChecks: resource.ConfigPlanChecks{},
				Check: resource.ComposeAggregateTestCheckFunc(seen.same("admin", organizationAddress, "admin_certificate"),
					func(*terraform.State) error {
						if _, err := localEngine(t).Volume(t.Context(), name+"-Org1MSP-keys"); !errors.Is(err, engine.ErrNotFound) {
							return fmt.Errorf("the key volume was made again: %v", err)
						}
						return nil
					}),
			},
			{ // until the organization is replaced: its admin enrols anew
				Config:             a.String(),
				Taint:              []string{organizationAddress},
				Check:              seen.another("admin", organizationAddress, "admin_certificate"),
				ExpectNonEmptyPlan: true, // the identity whose key was in there is seen to be without it only now
			},
			{
				Config: a.String(),
				Check:  resource.ComposeAggregateTestCheckFunc(seen.another("alice", aliceAddress, "certificate"), server.knows("alice", "bob", "admin")),
			},
			{ // many at once
				PreConfig: func() { t.Setenv("TF_CLI_ARGS_apply", "-parallelism=50") },
				Config: a.String() + `
resource "fabric_identity" "crowd" {
  count        = 20
  organization = fabric_organization.org1.handle
  name         = "member${count.index}"
  affiliation  = "org1.team${count.index % 2}"
  attributes   = { number = tostring(count.index) }
}
`,
				Check: server.knows("member0", "member19"),
			},
		},
	})
}

// TestAccSecrets runs Terraform and the provider as users do, has the provider crash with keys in its memory,
// and searches all that they write for every key and every secret that the engine holds.
func TestAccSecrets(t *testing.T) {
	binary := terraformUnderTest(t)
	name := networkName(t)
	sweepNetwork(t, name)
	w := newWorkspace(t, binary)
	a := authority{network: name, directory: filepath.Join(w.dir, "bob"), ofAlice: `attributes = { rank = "high" }`}
	config := "terraform {\n  required_providers {\n    fabric = { source = \"fabricops/fabric\" }\n  }\n}\n"
	w.write("main.tf", config+a.String())
	t.Cleanup(func() {
		a.ofCA = "deletion_protection = false"
		w.write("main.tf", config+a.String())
		w.run("apply", "-auto-approve")
		w.run("destroy", "-auto-approve")
		if err := nothingLeft(t, name)(nil); err != nil {
			t.Error(err)
		}
	})

	w.run("plan", "-out=first.plan")
	w.capture("first.json", "show", "-json", "first.plan")
	w.run("apply", "-auto-approve", "first.plan")
	a.ofAlice = `attributes = { rank = "low" }`
	a.ofCA = `identity_validities = ["168h"]`
	w.write("main.tf", config+a.String())
	w.run("plan", "-out=second.plan")
	w.capture("second.json", "show", "-json", "second.plan")
	w.run("apply", "-auto-approve", "second.plan")
	w.capture("state.json", "show", "-json")

	// A replacement that is asked for is no way around the protection.
	for _, command := range [][]string{{"apply", "-auto-approve", "-replace=" + caAddress}, {"destroy", "-auto-approve"}} {
		if out := w.fail(command...); !strings.Contains(out, "Protected from deletion") {
			t.Errorf("terraform %s: %s", strings.Join(command, " "), out)
		}
	}
	w.run("plan", "-detailed-exitcode")

	w.write("carol.tf", `resource "fabric_identity" "carol" {
  organization = fabric_organization.org1.handle
  name         = "carol"
}
`)
	w.crash("fabric_identity.carol: Creating...")
	w.run("apply", "-auto-approve")

	secrets := engineSecrets(t, name)
	if len(secrets) < 10 {
		t.Fatalf("the engine holds only %d secrets", len(secrets))
	}
	read := w.search(secrets)
	for _, file := range []string{"terraform.tfstate", "first.json", "second.json", "state.json", "crash.txt", "trace.log"} {
		if read[file] == 0 {
			t.Errorf("%s was not searched", file)
		}
	}
	if read["trace.log"] < 1<<20 {
		t.Errorf("the log has only %d bytes", read["trace.log"])
	}
}

// workspace is a folder in which Terraform works with the provider's own binary.
type workspace struct {
	t                        *testing.T
	terraform, provider, dir string
	env                      []string
}

func newWorkspace(t *testing.T, binary string) *workspace {
	t.Helper()
	bin := t.TempDir()
	w := &workspace{t: t, terraform: binary, provider: filepath.Join(bin, "terraform-provider-fabric"), dir: t.TempDir()}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", w.provider, "../..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("unable to build the provider: %v\n%s", err, out)
	}
	cli := filepath.Join(bin, "dev.tfrc")
	text := fmt.Sprintf("provider_installation {\n  dev_overrides {\n    \"fabricops/fabric\" = %q\n  }\n  direct {}\n}\n", bin)
	if err := os.WriteFile(cli, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "TF_") {
			w.env = append(w.env, entry)
		}
	}
	w.env = append(w.env, "TF_CLI_CONFIG_FILE="+cli, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1",
		"TF_LOG=TRACE", "TF_LOG_PATH="+filepath.Join(w.dir, "trace.log"))
	return w
}

func (w *workspace) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *workspace) do(arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), 10*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, w.terraform, append(arguments, "-no-color")...)
	command.Dir, command.Env = w.dir, w.env
	out, err := command.CombinedOutput()
	return string(out), err
}

func (w *workspace) run(arguments ...string) {
	w.t.Helper()
	if out, err := w.do(arguments...); err != nil {
		w.t.Fatalf("terraform %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
}

func (w *workspace) fail(arguments ...string) string {
	w.t.Helper()
	out, err := w.do(arguments...)
	if err == nil {
		w.t.Fatalf("terraform %s succeeded", strings.Join(arguments, " "))
	}
	return out
}

func (w *workspace) capture(name string, arguments ...string) {
	w.t.Helper()
	out, err := w.do(arguments...)
	if err != nil {
		w.t.Fatalf("terraform %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
	w.write(name, out)
}

// crash applies, and has the provider crash with all that the runtime and the kernel would tell when Terraform
// says a text. What the provider tells of it is in Terraform's log.
func (w *workspace) crash(when string) {
	w.t.Helper()
	command := exec.CommandContext(w.t.Context(), "sh", "-c", `ulimit -c unlimited; exec "$@"`, "sh", w.terraform, "apply", "-auto-approve", "-no-color")
	command.Dir, command.Env = w.dir, append(slices.Clone(w.env), "GOTRACEBACK=crash")
	said := &listener{text: when, heard: func() {
		if err := signalAll(w.provider, syscall.SIGABRT); err != nil {
			w.t.Error(err)
		}
	}}
	command.Stdout, command.Stderr = said, said
	if err := command.Run(); err == nil {
		w.t.Fatalf("nothing crashed:\n%s", said.all.String())
	}
	w.write("crash.txt", said.all.String())
	log, err := os.ReadFile(filepath.Join(w.dir, "trace.log"))
	if err != nil {
		w.t.Fatal(err)
	}
	if text := string(log); !strings.Contains(text, "SIGABRT") || !strings.Contains(text, "goroutine ") {
		w.t.Errorf("the log does not tell of the crash:\n%s", said.all.String())
	}
	if cores, err := filepath.Glob(filepath.Join(w.dir, "core*")); err != nil || len(cores) > 0 {
		w.t.Errorf("the crash left %v, %v", cores, err)
	}
}

// listener keeps what is said, and does something when it hears a text.
type listener struct {
	all   strings.Builder
	text  string
	heard func()
}

func (l *listener) Write(said []byte) (int, error) {
	before := strings.Contains(l.all.String(), l.text)
	n, err := l.all.Write(said)
	if !before && strings.Contains(l.all.String(), l.text) {
		l.heard()
	}
	return n, err
}

// signalAll signals the processes of a program.
func signalAll(program string, signal syscall.Signal) error {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return err
	}
	for _, link := range links {
		if at, err := os.Readlink(link); err != nil || at != program { // it may have ended meanwhile
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err != nil {
			return err
		}
		if err := syscall.Kill(pid, signal); err != nil {
			return err
		}
	}
	return nil
}

// search looks for private keys and for the secrets in every file that Terraform left, and gives how
// much of each was read. The directory of an identity is where its key belongs.
func (w *workspace) search(secrets map[string][]byte) map[string]int {
	w.t.Helper()
	read := map[string]int{}
	err := filepath.WalkDir(w.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && entry.Name() == "bob" {
			return fs.SkipDir
		}
		if entry.IsDir() {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		read[entry.Name()] = len(content)
		for _, header := range []string{"PRIVATE KEY", base64.StdEncoding.EncodeToString([]byte("-----BEGIN PRIVATE KEY"))[:28]} {
			if bytes.Contains(content, []byte(header)) {
				w.t.Errorf("%s holds a private key", entry.Name())
			}
		}
		for name, secret := range secrets {
			if bytes.Contains(content, secret) {
				w.t.Errorf("%s holds %s", entry.Name(), name)
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return read
}

// engineSecrets are the keys and the enrolment secrets of a network as the engine has them, in the
// forms in which they could get out.
func engineSecrets(t *testing.T, name string) map[string][]byte {
	t.Helper()
	secrets := map[string][]byte{}
	add := func(what string, content []byte) {
		block, _ := pem.Decode(content)
		if block == nil {
			secrets[what] = bytes.TrimSpace(content)
			return
		}
		lines := bytes.Split(content, []byte("\n"))
		secrets[what+" (a line of its PEM)"] = lines[2] // the first is much the same in all keys
		encoded := base64.StdEncoding.EncodeToString(block.Bytes)
		secrets[what+" (in base64)"] = []byte(encoded[48:88])
		twice := base64.StdEncoding.EncodeToString(content)
		secrets[what+" (its PEM in base64)"] = []byte(twice[len(twice)/2 : len(twice)/2+40])
	}
	for _, volume := range []string{"ca.org1-keys", "Org1MSP-keys"} {
		files, err := keystore.OpenVolume(localEngine(t), name+"-"+volume).Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for file, content := range files {
			if strings.HasSuffix(file, "key.pem") || strings.HasSuffix(file, "secret") {
				add(volume+"/"+file, content)
			}
		}
	}
	for file, content := range nodeFiles(t, name+"-ca.org1") {
		if strings.HasSuffix(file, "key.pem") {
			add("ca.org1/"+file, content)
		}
	}
	return secrets
}
