package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// foreign is a network that the provider did not make (test/foreign).
type foreign struct {
	t              *testing.T
	prefix, folder string
	orderers       []string
	env            []string
}

// sampleNetwork makes one with one ordering node, or with three, and removes it when the test ends.
func sampleNetwork(t *testing.T, prefix string, orderers ...string) *foreign {
	t.Helper()
	h := fnv.New32a()
	_, _ = h.Write([]byte(prefix))
	f := &foreign{t: t, prefix: prefix, folder: filepath.Join(t.TempDir(), "foreign"), orderers: orderers}
	f.env = append(os.Environ(), "FOREIGN_PREFIX="+prefix, fmt.Sprintf("FOREIGN_PORT=%d", 12000+h.Sum32()%40000), fmt.Sprintf("FOREIGN_ORDERERS=%d", len(orderers)))
	t.Cleanup(func() { f.script("down") })
	f.script("down") // of a run that was killed
	f.script("up")
	return f
}

func (f *foreign) script(what string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.t.Context()), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, filepath.Join("..", "..", "test", "foreign", "network"), what, f.folder)
	command.Env = f.env
	if out, err := command.CombinedOutput(); err != nil {
		f.t.Fatalf("test/foreign/network %s: %v\n%s", what, err, out)
	}
}

// nodes are the containers of its nodes, servers those of its chaincode.
func (f *foreign) nodes() []string {
	out := []string{f.prefix + "peer0.org1.example.com", f.prefix + "peer0.org2.example.com"}
	for _, name := range f.orderers {
		out = append(out, f.prefix+name+".example.com")
	}
	return out
}

func (f *foreign) servers() []string {
	return []string{f.prefix + "peer0org1_basic_ccaas", f.prefix + "peer0org2_basic_ccaas"}
}

func (f *foreign) inspect(name string) container.InspectResponse {
	f.t.Helper()
	got, err := dockerClient(f.t).ContainerInspect(f.t.Context(), name, client.ContainerInspectOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	return got.Container
}

// ids are those of its containers.
func (f *foreign) ids() map[string]string {
	f.t.Helper()
	out := map[string]string{}
	for _, name := range slices.Concat(f.nodes(), f.servers()) {
		out[name] = f.inspect(name).ID
	}
	return out
}

// nature is everything about a container that a change of its image must keep, as text.
func (f *foreign) nature(name string) string {
	f.t.Helper()
	c := f.inspect(name)
	config, host := *c.Config, *c.HostConfig
	config.Image, config.Hostname = "", ""
	config.Env = slices.DeleteFunc(slices.Clone(config.Env), func(e string) bool { return strings.HasPrefix(e, "FABRIC_VER=") })
	config.Labels = maps.Clone(config.Labels)
	maps.DeleteFunc(config.Labels, func(key, _ string) bool { return key == "com.fabricops.image.inputs" })
	slices.Sort(config.Env)
	var mounts []string
	for _, m := range c.Mounts {
		if m.Destination != "/etc/hyperledger/fabric" || m.Type != "volume" { // the configuration that the image brings
			mounts = append(mounts, fmt.Sprintf("%s %s %s %s %t", m.Type, m.Name, m.Source, m.Destination, m.RW))
		}
	}
	slices.Sort(mounts)
	host.Binds = slices.DeleteFunc(slices.Clone(host.Binds), func(bind string) bool { return !strings.HasPrefix(bind, "/") && !strings.HasPrefix(bind, f.prefix) })
	aliases := map[string][]string{}
	for on, endpoint := range c.NetworkSettings.Networks {
		aliases[on] = slices.DeleteFunc(slices.Clone(endpoint.Aliases), func(alias string) bool { return strings.HasPrefix(c.ID, alias) })
	}
	raw, err := json.MarshalIndent([]any{config, host, mounts, aliases}, "", " ")
	if err != nil {
		f.t.Fatal(err)
	}
	return string(raw)
}

// material is every file of cryptogen's, by its path: the keys, above all.
func (f *foreign) material() map[string]string {
	f.t.Helper()
	out := map[string]string{}
	root := filepath.Join(f.folder, "organizations")
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		out[path] = string(content)
		return err
	})
	if err != nil || len(out) == 0 {
		f.t.Fatalf("%d files of material, %v", len(out), err)
	}
	return out
}

// TestLongAdopt takes a network into Terraform's hands that something else made, changes it, and lets it
// go again: the example adopt, with a look at what must not change on the way.
func TestLongAdopt(t *testing.T) {
	requireLong(t)
	name := networkName(t)
	f := sampleNetwork(t, name+"-", "orderer") // before, so that it goes after what Terraform made
	w := acceptanceWorkspace(t, name+"-fabric_test")
	for _, file := range []string{"main.tf", "variables.tf"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "examples", "adopt", file))
		if err != nil {
			t.Fatal(err)
		}
		w.write(file, string(text))
	}
	if err := os.Symlink(f.folder, filepath.Join(w.dir, "foreign")); err != nil {
		t.Fatal(err)
	}
	set := func(more string) { w.write("terraform.tfvars", fmt.Sprintf("prefix = %q\n", f.prefix)+more) }
	apply := func(more string) {
		t.Helper()
		set(more)
		w.run("apply", "-auto-approve")
		if out, err := w.do("plan", "-detailed-exitcode"); err != nil {
			t.Fatalf("the plan after the apply is not empty:\n%s", out)
		}
	}
	channel := func() network.ChannelFacts {
		t.Helper()
		facts, err := reads(t).InspectChannel(t.Context(), handleOfNode(t, name+"-fabric_test-channel-mychannel"))
		if err != nil {
			t.Fatal(err)
		}
		return facts
	}
	made, material := f.ids(), f.material()
	untouched := func(when string) {
		t.Helper()
		if now := f.ids(); !maps.Equal(now, made) {
			t.Errorf("%s: containers are %v, were %v", when, now, made)
		}
		if !maps.Equal(f.material(), material) {
			t.Errorf("%s: the material changed", when)
		}
	}

	// An import without the organizations says what to do, and so does a container that is none.
	set("imported = true\n")
	if out := plainText(w.fail("plan")); !strings.Contains(out, "next: apply a fabric_organization of it") {
		t.Errorf("import before the organizations: %s", out)
	}
	apply("")
	untouched("organizations")

	// Imported, everything is as its configuration says, protected, and goes on.
	protected := "imported = true\ndeletion_protection = true\n"
	set(protected)
	out, err := w.do("plan")
	if err != nil || !strings.Contains(out, "Plan: 5 to import, 0 to add, 0 to change, 0 to destroy.") {
		t.Fatalf("the import changes something: %v\n%s", err, out)
	}
	apply(protected)
	untouched("import")
	if out := plainText(w.fail("destroy", "-auto-approve")); !strings.Contains(out, "Protected from deletion") {
		t.Errorf("destroy of what is protected: %s", out)
	}
	untouched("refused destroy")
	before := channel()

	// An organization of ours joins, with a peer that has every block, and endorses.
	apply("imported = true\norg3 = true\n")
	untouched("another organization")
	facts := channel()
	if len(facts.Heights) != 4 || facts.Heights["peer0.org3"] != facts.Heights["peer0.org1"] || facts.Height <= before.Height {
		t.Errorf("heights are %v, were %v", facts.Heights, before.Heights)
	}

	// A container that stopped is started, one that is gone is its maker's to bring back.
	stopped := f.nodes()[1]
	if err := localEngine(t).StopNode(t.Context(), stopped, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if out, err := w.do("plan", "-detailed-exitcode"); err == nil || !strings.Contains(out, `"stopped" -> "running"`) {
		t.Errorf("a stopped container is no drift: %v\n%s", err, out)
	}
	w.run("apply", "-auto-approve")
	untouched("start")
	aside := func(from, to string) {
		t.Helper()
		if _, err := dockerClient(t).ContainerRename(t.Context(), from, client.ContainerRenameOptions{NewName: to}); err != nil {
			t.Fatal(err)
		}
	}
	aside(stopped, stopped+"-aside")
	if out := plainText(w.fail("apply", "-auto-approve")); !strings.Contains(out, "which this provider did not make; next: start it with what made it") {
		t.Errorf("a container that is gone: %s", out)
	}
	aside(stopped+"-aside", stopped)
	w.run("apply", "-auto-approve")
	untouched("return")

	// Another release: other containers, the same in everything else, on the same ledgers and keys.
	before = channel()
	natures := map[string]string{}
	for _, node := range f.nodes() {
		natures[node] = f.nature(node)
	}
	apply("imported = true\norg3 = true\nfabric_version = \"3.1.1\"\n")
	for _, node := range f.nodes() {
		if now := f.nature(node); now != natures[node] {
			t.Errorf("container %s is another one but for its image:\n%s\nwas\n%s", node, now, natures[node])
		}
		if image := f.inspect(node).Config.Image; !strings.HasSuffix(image, ":3.1.1") || f.inspect(node).ID == made[node] {
			t.Errorf("container %s runs %s", node, image)
		}
		made[node] = f.inspect(node).ID
	}
	untouched("another release")
	facts = channel()
	for node, height := range before.Heights {
		if facts.Heights[node] <= height { // the transaction is submitted anew
			t.Errorf("%s has %d blocks, and had %d", node, facts.Heights[node], height)
		}
	}

	// Let go, it runs on as it is, without what was ours.
	members := func() []string {
		t.Helper()
		var out []string
		for _, org := range channel().Summary.ApplicationOrganizations {
			out = append(out, org.Definition.ID)
		}
		return out
	}
	if got := members(); !slices.Equal(got, []string{"Org1MSP", "Org2MSP", "Org3MSP"}) {
		t.Errorf("the members are %v", got)
	}
	w.run("destroy", "-auto-approve")
	untouched("destroy")
	if err := nothingLeft(t, name+"-fabric_test")(nil); err != nil {
		t.Error(err)
	}
	for _, c := range slices.Concat(f.nodes(), f.servers()) {
		if state := f.inspect(c).State.Status; state != container.StateRunning {
			t.Errorf("container %s is %s", c, state)
		}
	}
	// Taken back, it is what it was before.
	apply("fabric_version = \"3.1.1\"\n")
	apply("imported = true\nfabric_version = \"3.1.1\"\n")
	untouched("return to Terraform")
	if got := members(); !slices.Equal(got, []string{"Org1MSP", "Org2MSP"}) {
		t.Errorf("the members are %v", got)
	}
	w.run("destroy", "-auto-approve")
	untouched("second destroy")
	f.script("down") // while nothing of ours is on its network
}
