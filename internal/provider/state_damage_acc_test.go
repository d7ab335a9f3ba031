package provider

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// damagedConfig is a small network in which resources are named as a refusal names them in its import blocks.
const damagedConfig = `
terraform {
  required_providers {
    fabric = { source = "fabricops/fabric" }
  }
}

provider "fabric" {
  fabric_version = "RELEASE"
}

variable "owner_id" {
  type    = string
  default = null
}

variable "protected" {
  type    = bool
  default = true
}

# What is changed while the state that is found again knows nothing of it.
variable "later" {
  type    = bool
  default = false
}

# Labels of a peer: what is there has others.
variable "team" {
  type    = string
  default = "one"
}

resource "fabric_network" "NETWORK" {
  name     = "NETWORK"
  domain   = "example.com"
  owner_id = var.owner_id
}

resource "fabric_ca" "ca_org1" {
  network             = fabric_network.NETWORK.handle
  name                = "ca.org1"
  organization        = "org1"
  deletion_protection = var.protected
}

resource "fabric_organization" "Org1MSP" {
  msp_id = "Org1MSP"
  ca     = fabric_ca.ca_org1.handle
}

resource "fabric_identity" "Org1MSP_clerk" {
  organization = fabric_organization.Org1MSP.handle
  name         = "clerk"
  key_version  = var.later ? 2 : 1
}

resource "fabric_crl" "Org1MSP" {
  organization = fabric_organization.Org1MSP.handle
}

resource "fabric_orderer_cluster" "orderers" {
  organization        = fabric_organization.Org1MSP.handle
  nodes               = { orderer0 = {} }
  limits              = { pids = var.later ? 900 : 800 }
  deletion_protection = var.protected
}

resource "fabric_peer" "peer0_org1" {
  organization        = fabric_organization.Org1MSP.handle
  name                = "peer0.org1"
  labels              = { team = var.team }
  key_version         = var.later ? 2 : 1
  deletion_protection = var.protected
}

resource "fabric_peer" "peer1_org1" {
  count               = var.later ? 1 : 0
  organization        = fabric_organization.Org1MSP.handle
  name                = "peer1.org1"
  deletion_protection = var.protected
}

resource "fabric_channel" "trade" {
  name              = "trade"
  orderers          = fabric_orderer_cluster.orderers.handle
  max_message_count = var.later ? 20 : 10
  organizations = {
    org1 = {
      organization = fabric_organization.Org1MSP.handle
      definition   = fabric_organization.Org1MSP.definition
      peers        = { for p in concat([fabric_peer.peer0_org1], fabric_peer.peer1_org1) : p.name => p.handle }
    }
  }
  deletion_protection = var.protected
}

resource "fabric_chaincode" "trade_asset" {
  channel = fabric_channel.trade.handle
  name    = "asset"
  version = var.later ? "2.0" : "1.0"
  server  = { image = "fabricops/kv-chaincode:1.0" }
}
`

// damaged is a network whose state is damaged in one way after another.
type damaged struct {
	*workspace
	network string
}

func (d *damaged) apply(variables ...string) []string {
	return d.with("apply -auto-approve", variables)
}

func (d *damaged) with(command string, variables []string) []string {
	arguments := append(strings.Fields(command), "-input=false")
	for _, v := range variables {
		arguments = append(arguments, "-var", v)
	}
	return arguments
}

// unchanged expects an empty plan.
func (d *damaged) unchanged(variables ...string) {
	d.t.Helper()
	d.run(d.with("plan -detailed-exitcode", variables)...)
}

func (d *damaged) state() string { return filepath.Join(d.dir, "terraform.tfstate") }

func (d *damaged) keep() []byte {
	d.t.Helper()
	content, err := os.ReadFile(d.state())
	if err != nil {
		d.t.Fatal(err)
	}
	return content
}

// leave leaves the state as something has left it; nil is none.
func (d *damaged) leave(content []byte) {
	d.t.Helper()
	err := os.WriteFile(d.state(), content, 0o600)
	if content == nil {
		err = os.Remove(d.state())
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// picture is everything of the network on the engine: containers with their IDs, volumes, and every file of
// the key volumes by its digest, but for the certificate of an identity: one that is taken up gets another one
// for the key that it has.
func (d *damaged) picture() map[string]string {
	d.t.Helper()
	e, labels := localEngine(d.t), map[string]string{engine.LabelNetwork: d.network}
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	found := map[string]string{}
	nodes, err := e.Nodes(ctx, labels)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, n := range nodes {
		found["container "+n.Name] = n.ID + " " + string(n.Status)
	}
	volumes, err := e.Volumes(ctx, labels)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, v := range volumes {
		found["volume "+v.Name] = v.Labels[engine.LabelOwner]
		if !strings.HasSuffix(v.Name, "-keys") {
			continue
		}
		files, err := keystore.OpenVolume(e, v.Name).Read(ctx)
		if err != nil {
			d.t.Fatal(err)
		}
		for name, content := range files {
			if strings.HasPrefix(name, "identities/") && strings.HasSuffix(name, "/cert.pem") {
				continue
			}
			digest := sha256.Sum256(content)
			found["file "+v.Name+"/"+name] = hex.EncodeToString(digest[:])
		}
	}
	networks, err := e.Networks(ctx, labels)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, n := range networks {
		found["network "+n.Name] = n.ID
	}
	return found
}

// same expects that nothing on the engine was made, changed or removed.
func (d *damaged) same(after string, before map[string]string) {
	d.t.Helper()
	now := d.picture()
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if is := now[name]; is != before[name] {
			d.t.Errorf("%s: %s was %q and is %q", after, name, before[name], is)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if _, was := before[name]; !was {
			d.t.Errorf("%s: %s is new", after, name)
		}
	}
}

// printed are the import blocks that a refusal holds.
var printed = regexp.MustCompile(`import \{\n[^}]*\}`)

// blocks takes the import blocks out of what Terraform printed, to be pasted as they are.
func blocks(output string) string {
	plain := regexp.MustCompile(`(?m)^[│╷╵] ?`).ReplaceAllString(output, "")
	return strings.Join(printed.FindAllString(plain, -1), "\n\n") + "\n"
}

func (d *damaged) says(output string, texts ...string) {
	d.t.Helper()
	flat := strings.Join(strings.Fields(regexp.MustCompile(`[│╷╵]`).ReplaceAllString(output, "")), " ")
	for _, text := range texts {
		if !strings.Contains(flat, text) {
			d.t.Errorf("Terraform does not say %q:\n%s", text, output)
		}
	}
}

// TestLongStateDamage damages the state of a network in every way that is known of: nothing on the engine is
// touched before somebody says so, nothing is made a second time, no key is replaced, and the next apply
// leaves an empty plan. Every resource is imported by its ID on the way.
func TestLongStateDamage(t *testing.T) {
	requireLong(t)
	for _, release := range []string{"3.1.1", "2.5.9"} {
		t.Run(release, func(t *testing.T) { damage(t, release) })
	}
}

func damage(t *testing.T, release string) {
	t.Helper()
	if os.Getenv(resource.EnvTfAcc) == "" {
		t.Skipf("acceptance tests run when %s is set", resource.EnvTfAcc)
	}
	binary := os.Getenv("TF_ACC_TERRAFORM_PATH")
	if binary == "" {
		binary = "terraform"
	}
	name := networkName(t)
	sweepNetwork(t, name)
	d := &damaged{workspace: newWorkspace(t, binary), network: name}
	d.write("main.tf", strings.NewReplacer("NETWORK", name, "RELEASE", release).Replace(damagedConfig))
	d.run(d.apply()...)
	d.unchanged()
	whole, before := d.keep(), d.picture()

	t.Log("the state is empty: the network is refused, with what takes it back")
	d.leave([]byte{})
	said := d.fail(d.apply()...)
	d.says(said, "Unable to create network "+name, "set owner_id of fabric_network", `With owner_id = "`)
	d.same("refused", before)
	for _, variant := range []struct{ name, state string }{{"there is none", ""}, {"it holds nothing", `{"version":4,"terraform_version":"1.11.4","serial":1,"lineage":"0","outputs":{},"resources":[]}`}} {
		d.leave(nil)
		if variant.state != "" {
			d.leave([]byte(variant.state))
		}
		if again := d.fail(d.apply()...); blocks(again) != blocks(said) {
			t.Errorf("%s: another refusal: %s", variant.name, again)
		}
		d.same(variant.name, before)
	}

	t.Log("the import blocks of the refusal, pasted as they are")
	d.write("imports.tf", blocks(said))
	d.says(d.done(d.with("plan", nil)...), "9 to import, 0 to add, 0 to change, 0 to destroy.")
	d.run(d.apply()...)
	d.unchanged()
	d.same("imported", before)
	d.remove("imports.tf")

	t.Log("the owner_id, once")
	owner := regexp.MustCompile(`owner_id = "([0-9a-f]+)"`).FindStringSubmatch(said)
	if owner == nil {
		t.Fatal("no owner_id is named")
	}
	d.leave(nil)
	d.run(d.apply("owner_id=" + owner[1])...)
	d.unchanged()
	d.same("taken back", before)

	t.Log("a state that was cut off: Terraform itself refuses it")
	d.leave(whole[:len(whole)/2])
	d.fail(d.apply()...)
	d.same("cut off", before)
	d.leave(whole)
	d.unchanged()

	t.Log("one resource is lost after the other: what is there as it is wanted is taken up")
	for _, address := range strings.Fields(d.done("state", "list")) {
		if strings.HasPrefix(address, "fabric_network.") {
			continue
		}
		d.run("state", "rm", address)
		d.says(d.done(d.apply()...), "Resources: 1 added,", "0 destroyed.")
		d.unchanged()
		d.same(address+" was lost", before)
	}

	t.Log("what is there otherwise than it is wanted is refused, and imported")
	d.run("state", "rm", "fabric_peer.peer0_org1")
	said = d.fail(d.apply("team=two")...)
	d.says(said, "Unable to create peer peer0.org1", "If the state of this resource was lost, import it")
	d.same("refused", before)
	d.write("imports.tf", blocks(said))
	d.says(d.done(d.apply("team=two")...), "1 imported, 0 added, 1 changed, 0 destroyed.")
	d.run(d.apply()...) // and back
	d.unchanged()
	d.remove("imports.tf")

	t.Log("a state of before: what was changed since is there, and stays as it is")
	whole = d.keep()
	d.run(d.apply("later=true")...)
	d.run(d.apply("later=true")...) // the list of what the new keys revoked
	d.unchanged("later=true")
	before = d.picture()
	d.leave(whole)
	d.says(d.done(d.with("plan", []string{"later=true"})...), "fabric_peer.peer1_org1[0] will be created")
	d.same("planned", before)
	d.run(d.apply("later=true")...)
	d.unchanged("later=true")
	d.same("an older state", before)

	d.run(d.apply("later=true", "protected=false")...)
	d.run(d.with("destroy -auto-approve", []string{"later=true", "protected=false"})...)
	if err := nothingLeft(t, name)(nil); err != nil {
		t.Error(err)
	}
}

// done runs a command that has to succeed, and gives what it printed.
func (d *damaged) done(arguments ...string) string {
	d.t.Helper()
	out, err := d.do(arguments...)
	if err != nil {
		d.t.Fatalf("terraform %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
	return out
}

func (d *damaged) remove(name string) {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.dir, name)); err != nil {
		d.t.Fatal(err)
	}
}
