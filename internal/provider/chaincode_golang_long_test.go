package provider

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// goSource is the folder of a chaincode in Go with its dependencies, as a team has it beside its Terraform
// files: the functions of kv-chaincode, started by the peer.
type goSource struct {
	t      *testing.T
	folder string
}

// kvModule is where its functions come from.
const kvModule = "../../images/kv-chaincode"

func newGoSource(t *testing.T) goSource {
	t.Helper()
	s := goSource{t, t.TempDir()}
	for _, name := range []string{"go.mod", "go.sum", "keyvalue.go"} {
		content, err := os.ReadFile(filepath.Join(kvModule, name))
		if err != nil {
			t.Fatal(err)
		}
		s.write(name, string(content))
	}
	s.version("1.0")
	s.run("mod", "vendor")
	return s
}

func (s goSource) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.folder, name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// version writes the program of a version.
func (s goSource) version(version string) {
	s.t.Helper()
	s.write("main.go", fmt.Sprintf(`package main

import (
	"log"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
)

func main() {
	log.Fatal(shim.Start(newKeyValue(%q)))
}
`, version))
}

// run runs the go command in the folder, and gives what it prints.
func (s goSource) run(args ...string) string {
	s.t.Helper()
	command := exec.CommandContext(s.t.Context(), "go", args...)
	command.Dir, command.Env = s.folder, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=", "GOWORK=off")
	out, err := command.CombinedOutput()
	if err != nil {
		s.t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// id is the package ID of the folder as it is.
func (s goSource) id(label string) string {
	s.t.Helper()
	id, err := lifecycle.Source{Label: label, Type: lifecycle.TypeGolang, Folder: s.folder}.ID()
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

// peerWithGo is an image of a peer that has a builder for golang, and the Go of this machine for it to build with.
func peerWithGo(t *testing.T, version string, s goSource) string {
	t.Helper()
	// Compiled here, the dependencies are not compiled again by every peer, nor for the next test.
	cache, err := filepath.Abs("../../bin/golang-cache")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOCACHE", cache)
	s.run("build", "-trimpath", "-o", filepath.Join(t.TempDir(), "chaincode"), ".")
	name := networkName(t) + "/fabric-peer-with-go:" + version
	root := s.run("env", "GOROOT")
	content, out := io.Pipe()
	go func() { out.CloseWithError(peerContext(out, version, root, cache)) }()
	api := dockerClient(t)
	built, err := api.ImageBuild(t.Context(), content, client.ImageBuildOptions{Tags: []string{name}, Remove: true, ForceRemove: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = built.Body.Close() }()
	for messages := json.NewDecoder(built.Body); ; {
		var message struct {
			Error string `json:"error"`
		}
		if err := messages.Decode(&message); errors.Is(err, io.EOF) {
			break
		} else if err != nil || message.Error != "" {
			t.Fatal(err, message.Error)
		}
	}
	t.Cleanup(func() {
		if _, err := api.ImageRemove(context.WithoutCancel(t.Context()), name, client.ImageRemoveOptions{PruneChildren: true}); err != nil {
			t.Error(err)
		}
	})
	return name
}

// peerContext writes what the image is made from.
func peerContext(to io.Writer, version, root, cache string) error {
	w := tar.NewWriter(to)
	file := fmt.Sprintf("FROM hyperledger/fabric-peer:%s\nCOPY go /usr/local/go\nCOPY builder /opt/golang_builder\n", version)
	if err := w.WriteHeader(&tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(file))}); err != nil {
		return err
	}
	if _, err := io.WriteString(w, file); err != nil {
		return err
	}
	tools := "pkg/tool/" + runtime.GOOS + "_" + runtime.GOARCH
	for _, part := range []struct{ from, to string }{
		{filepath.Join(root, "VERSION"), "go/VERSION"}, {filepath.Join(root, "go.env"), "go/go.env"},
		{filepath.Join(root, "bin/go"), "go/bin/go"}, {filepath.Join(root, "pkg/include"), "go/pkg/include"},
		{filepath.Join(root, tools), "go/" + tools}, {filepath.Join(root, "src"), "go/src"},
		{cache, "builder/cache"}, {"testdata/golang-builder/bin", "builder/bin"},
	} {
		err := filepath.WalkDir(part.from, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				if base := d.Name(); base == "testdata" || name == filepath.Join(root, "src", "cmd") {
					return fs.SkipDir
				}
				return nil
			}
			if strings.HasSuffix(name, "_test.go") || !d.Type().IsRegular() {
				return nil
			}
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			relative, err := filepath.Rel(part.from, name)
			if err != nil {
				return err
			}
			mode := int64(0o644)
			if info.Mode()&0o100 != 0 {
				mode = 0o755
			}
			if err := w.WriteHeader(&tar.Header{Name: path.Join(part.to, filepath.ToSlash(relative)), Mode: mode, Size: int64(len(content))}); err != nil {
				return err
			}
			_, err = w.Write(content)
			return err
		})
		if err != nil {
			return err
		}
	}
	return w.Close()
}

// buildersConfig is a network with a peer for each name, whose image builds chaincode in Go, and a chaincode.
func buildersConfig(name, version, image, kv string, peers ...string) string {
	config, joined := plainOrganizations(name, version, "orderer", "org1")+`
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}
`, ""
	for _, p := range peers {
		config += fmt.Sprintf(`
resource "fabric_peer" %[1]q {
  organization        = fabric_organization.org1.handle
  name                = "%[1]s.org1"
  image               = %[2]q
  deletion_protection = false
  config = {
    chaincode = {
      externalBuilders = [
        { name = "ccaas_builder", path = "/opt/hyperledger/ccaas_builder", propagateEnvironment = ["CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG"] },
        { name = "golang_builder", path = "/opt/golang_builder" },
      ]
    }
  }
}
`, p, image)
		joined += fmt.Sprintf("%[1]s = fabric_peer.%[1]s.handle, ", p)
	}
	config += fmt.Sprintf(`
resource "fabric_channel" "trade" {
  name                = "trade"
  orderers            = fabric_orderer_cluster.this.handle
  max_message_count   = 1
  deletion_protection = false
  organizations = {
    org1 = {
      organization = fabric_organization.org1.handle
      definition   = fabric_organization.org1.definition
      peers        = { %s }
    }
  }
}
`, joined)
	if kv != "" {
		config += fmt.Sprintf(`
resource "fabric_chaincode" "kv" {
  channel = fabric_channel.trade.handle
  name    = "kv"
  version = "1.0"
  %s
}
`, kv)
	}
	return config
}

func TestLongChaincodeGolang(t *testing.T)   { golangLife(t, "3.1.1") }
func TestLongChaincodeGolang25(t *testing.T) { golangLife(t, "2.5.9") }

// golangLife takes a chaincode in Go from its source through its life: the peer builds and runs it.
func golangLife(t *testing.T, version string) {
	requireLong(t)
	c, source := contracts{name: networkName(t)}, newGoSource(t)
	image := peerWithGo(t, version, source)
	kv := fmt.Sprintf("package = { type = \"golang\", path = %q }", source.folder)
	with := func(kv string, peers ...string) string { return buildersConfig(c.name, version, image, kv, peers...) }
	packageID := func(id string) statecheck.StateCheck {
		return statecheck.ExpectKnownValue(kvAddress, tfjsonpath.New("package_id"), knownvalue.StringExact(id))
	}
	plans := func(id string) resource.ConfigPlanChecks {
		return resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectKnownValue(kvAddress, tfjsonpath.New("package_id"), knownvalue.StringExact(id))}}
	}
	first := source.id("kv_1.0")
	source.version("2.0")
	second := source.id("kv_1.0")
	source.version("1.0")
	served := lifecycle.PackageRequest{Label: "served_1", Connection: lifecycle.Connection{Address: network.ServerAddress("trade", "served_1")}}
	packed, err := lifecycle.Package(served)
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "served.tar.gz")
	if err := os.WriteFile(archive, packed, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(packed)
	damaged[len(damaged)/2] ^= 1
	servedKV := fmt.Sprintf("package = { archive = %q }\n  server = { image = \"fabricops/kv-chaincode:1.0\" }", archive)
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, c.name),
		Steps: []resource.TestStep{
			{ // Its package ID is known although nothing is there yet.
				Config: with(kv, "peer0"), ConfigPlanChecks: plans(first),
				ConfigStateChecks: append(sequence(1, "kv_1.0"), packageID(first)), Check: c.answers(t, "1.0", "version"),
			},
			{ // What no build reads is no change.
				PreConfig: func() {
					source.write("main_test.go", "package main")
					source.write(".env", "SECRET=1")
				},
				Config: with(kv, "peer0"), PlanOnly: true,
			},
			{ // What changed in its source is an upgrade; what does not compile fails before anything is approved, and says why.
				PreConfig: func() { source.write("main.go", "package main\n\nfunc main() { undefinedHere() }\n") },
				Config:    with(kv, "peer0"), ExpectError: tells("Unable to update chaincode kv", "peer0.org1", "undefined: undefinedHere"),
			},
			{
				PreConfig: func() { source.version("1.0") },
				Config:    with(kv, "peer0"), PlanOnly: true,
			},
			{
				PreConfig: func() { source.version("2.0") },
				Config:    with(kv, "peer0"), ConfigPlanChecks: plans(second),
				ConfigStateChecks: append(sequence(2, "kv_1.0"), packageID(second)), Check: c.answers(t, "2.0", "version"),
			},
			{ // A peer that joins later builds it too, although nobody tells the chaincode.
				Config: with(kv, "peer0", "peer1"), ConfigStateChecks: sequence(2, "kv_1.0"),
				Check: func(state *terraform.State) error {
					stopNode(t, c.name+"-peer0.org1")
					err := c.answersAt(t, "peer1.org1", "2.0", "version")(state)
					return errors.Join(err, localEngine(t).StartNode(t.Context(), c.name+"-peer0.org1"))
				},
			},
			{
				Config: with(kv, "peer0", "peer1"), ResourceName: kvAddress, ImportState: true, ImportStateId: c.name + "/trade/kv",
				ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "name", ImportStateVerifyIgnore: []string{"package", "timeouts"},
			},
			{ // A damaged package is refused during plan.
				PreConfig: func() {
					if err := os.WriteFile(archive, damaged, 0o600); err != nil {
						t.Fatal(err)
					}
				},
				Config: with(servedKV, "peer0", "peer1"), ExpectError: tells("Package that cannot be read", "served.tar.gz"),
			},
			{ // A given package with servers of ours takes its place.
				PreConfig: func() {
					if err := os.WriteFile(archive, packed, 0o600); err != nil {
						t.Fatal(err)
					}
				},
				Config: with(servedKV, "peer0", "peer1"), ConfigPlanChecks: plans(lifecycle.PackageID("served_1", packed)),
				ConfigStateChecks: sequence(3, "served_1"), Check: resource.ComposeTestCheckFunc(c.answers(t, "1.0", "version"), c.serversAre(t, 2)),
			},
			{
				Config:            with(kv, "peer0", "peer1"),
				ConfigStateChecks: sequence(4, "kv_1.0"), Check: resource.ComposeTestCheckFunc(c.answers(t, "2.0", "version"), c.serversAre(t, 0)),
			},
		},
	})
}

// serversAre expects that many servers of ours.
func (c contracts) serversAre(t *testing.T, want int) resource.TestCheckFunc {
	return func(*terraform.State) error {
		nodes, err := localEngine(t).Nodes(t.Context(), map[string]string{engine.LabelNetwork: c.name, engine.LabelKind: "chaincode"})
		running := 0
		for _, n := range nodes {
			if n.Status == engine.Running {
				running++
			}
		}
		if err == nil && running != want {
			err = fmt.Errorf("%d servers run, want %d", running, want)
		}
		return err
	}
}
